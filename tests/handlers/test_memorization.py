import io
import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import differential_evolution

from monai_ext.handlers import memorization
from monai_ext.handlers.memorization import LearningCurve, MemorizationDetector, fit_learning_curve

CURVES = [(0.8, 0.7, 3.0), (0.8, 1.0, 7.0), (0.9, 0.5, 2.0), (0.6, 0.9, 5.0)]
"""Some (a, b, c)."""


def points(curve, n, noise=0.0, seed=0):
    """The curve's equation in epochs 1 to n."""
    a, b, c = curve
    values = [a * (1 - math.exp(-(t**b) / c)) for t in range(1, n + 1)]
    return [v + e for v, e in zip(values, np.random.default_rng(seed).normal(0, noise, n), strict=True)]


def slope(curve, t):
    a, b, c = curve
    return a * b / c * math.exp(-(t**b) / c) * t ** (b - 1)


def by_hand(curve, r=0.9):
    """The first epoch in which the slope has changed by more than a share r."""
    change = [abs(slope(curve, t) - slope(curve, 1)) / slope(curve, 1) for t in range(1, 200)]
    return next(t for t, value in enumerate(change, start=1) if value > r)


def first_epoch(curve, r=0.9):
    """The first epoch in which a fitted curve has changed by more than a share r."""
    return next(t for t in range(1, 500) if curve.relative_change(t) > r)


def detect(iou, max_epochs=1000, **options):
    """Give a detector of two classes the IoU of one epoch after another."""
    detector = MemorizationDetector(2, **options)
    for value in iou:
        detector.update([value], max_epochs)
    return detector


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("offset", [0, 3])
def test_value_and_relative_change_equal_their_equations(curve, offset):
    found, h = LearningCurve(*curve, offset), 1e-6
    assert [found.value(t) for t in range(1, 12)] == pytest.approx(([0] * offset + points(curve, 11))[:11])
    for t in (1.5, 4, 20):
        numeric = (found.value(offset + t + h) - found.value(offset + t - h)) / (2 * h)
        assert numeric == pytest.approx(slope(curve, t), rel=1e-5)
        assert found.relative_change(offset + t) == pytest.approx(1 - numeric / slope(curve, 1), rel=1e-5)
    assert [found.relative_change(t) for t in range(offset + 2)] == pytest.approx([0] * (offset + 2))


@pytest.mark.parametrize("curve", CURVES, ids=str)
@pytest.mark.parametrize("n", [4, 8, 40])
def test_the_fit_recovers_a_curve_without_noise(curve, n):
    found = fit_learning_curve(points(curve, n))
    assert (found.a, found.b, found.c, found.offset) == pytest.approx((*curve, 0), abs=1e-3)
    assert first_epoch(found) == by_hand(curve)


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_noise_moves_the_epoch_by_two_at_most(curve):
    for seed in range(5):
        found = fit_learning_curve(points(curve, 40, noise=0.01, seed=seed))
        assert abs(first_epoch(found) - by_hand(curve)) <= 2


def test_no_search_finds_a_better_curve_under_the_weights():
    iou = np.array(points((0.8, 0.7, 3), 25, noise=0.03))
    t, sigma = np.arange(1, 26), np.geomspace(1, 0.1, 25)

    def cost(abc):
        a, b, c = abc
        return (((a * (1 - np.exp(-(t**b) / c)) - iou) / sigma) ** 2).sum()

    best = differential_evolution(cost, [(0, 1), (0, 1), (1e-3, 50)], seed=0, tol=1e-8)
    found = fit_learning_curve(iou)
    assert cost((found.a, found.b, found.c)) == pytest.approx(best.fun, rel=1e-4)
    assert (found.a, found.b, found.c) == pytest.approx(tuple(best.x), rel=1e-2)


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0, 7.0, 20.0])
def test_an_exponential_is_detected_when_its_logarithm_says(c):
    curve = LearningCurve(0.8, 1, c)
    assert first_epoch(curve) == math.floor(1 + c * math.log(10)) + 1


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_larger_change_comes_later(curve):
    epochs = [first_epoch(LearningCurve(*curve), r) for r in (0.3, 0.6, 0.8, 0.9, 0.99)]
    assert epochs == [by_hand(curve, r) for r in (0.3, 0.6, 0.8, 0.9, 0.99)]
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize("b", [0, 0.01, 0.3, 0.99, 1])
@pytest.mark.parametrize("c", [1e-6, 0.1, 3, 1e3, 1e9])
def test_the_change_never_falls_so_that_its_latest_value_decides(b, c):
    curve = LearningCurve(0.8, b, c, offset=2)
    changes = [curve.relative_change(t) for t in range(300)]
    assert changes == sorted(changes) and changes[0] == 0 and changes[-1] <= 1


@pytest.mark.parametrize("plateau", [[], [0.0], [0.0] * 5, [0.04, 0.01, 0.049], [0.0] * 20], ids=len)
def test_an_initial_plateau_shifts_the_detection_by_its_length(plateau):
    curve = (0.8, 0.7, 3)
    detector = detect([*plateau, *points(curve, 30)])
    assert detector.detected == {1: by_hand(curve) + len(plateau)}
    assert detector.curves()[1].offset == len(plateau)


def test_points_below_a_tenth_of_the_highest_belong_to_the_plateau():
    curve = (0.95, 0.8, 2)
    assert fit_learning_curve([0.06, 0.07, *points(curve, 30)]).offset == 2
    assert fit_learning_curve([0.06, 0.07, 0.08, 0.09, 0.1]).offset == 0


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_class_is_detected_in_the_epoch_that_the_whole_curve_names(curve):
    detector = detect(points(curve, 40))
    assert detector.detected == {1: by_hand(curve)}
    kept = slope(curve, by_hand(curve)) / slope(curve, 1)
    assert detector.reasons == {1: f"the fitted curve keeps {kept:.0%} of its initial slope"}


def test_a_slow_curve_is_detected_although_no_increment_reaches_a_tenth():
    iou = points((0.8, 1, 7), 40)
    assert max(np.diff(iou)) < 0.1  # so that the published rule takes all of it for the plateau
    assert detect(iou).detected == {1: 18}


@pytest.mark.parametrize("iou", [[], [0.5] * 3, [0] * 9 + [0.5] * 3, [0.0] * 9, [0.049] * 9], ids=str)
def test_fewer_than_four_learned_points_are_not_fitted(iou):
    assert fit_learning_curve(iou) is None


@pytest.mark.parametrize("iou", [[0.0] * 30, [0.04] * 30], ids=["empty", "nearly_empty"])
def test_a_class_that_is_never_learned_is_never_detected(iou):
    assert detect(iou, max_epochs=30).detected == {}


def test_a_class_that_is_lost_is_not_detected_until_it_is_learned_again():
    lost = [0.3, 0.2, 0.1, 0.04] + [0.01] * 26
    assert detect(lost, max_epochs=30).detected == {}
    assert detect([*lost, 0.2], max_epochs=31).detected == {1: 31}


@pytest.mark.parametrize(("min_iou", "epoch"), [(0.3, 12), (0.75, 21), (0.85, None)])
def test_no_class_is_detected_below_the_smallest_iou(min_iou, epoch):
    iou = points((0.8, 0.7, 3), 30)
    first = next((t for t, value in enumerate(iou, start=1) if value >= min_iou), None)
    assert detect(iou, min_iou=min_iou).detected.get(1) == epoch == (first and max(first, 12))


LINE = np.linspace(0.06, 0.9, 20)
"""Grows as fast at the end as at the start."""


@pytest.mark.parametrize(("latest_fraction", "epoch"), [(0.6, 12), (0.55, 11), (1.0, 20)])
def test_a_class_without_a_flat_curve_is_detected_at_the_latest_share_of_the_training(latest_fraction, epoch):
    detector = detect(LINE, max_epochs=20, latest_fraction=latest_fraction)
    assert detector.detected == {1: epoch}
    assert detector.reasons[1].startswith("no fitted curve has flattened by")


def test_a_training_without_an_end_has_no_latest_epoch():
    assert detect(LINE, max_epochs=math.inf).detected == {}


def test_a_fit_that_fails_leaves_the_decision_to_the_latest_share(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr(memorization, "curve_fit", fails)
    iou = points((0.8, 0.7, 3), 30)
    assert fit_learning_curve(iou) is None
    assert detect(iou, max_epochs=30).detected == {1: 18}


@pytest.mark.parametrize("after", [[0.9] * 20, [0.0] * 20, list(np.linspace(0.1, 0.9, 20))], ids=str)
def test_what_was_detected_stays_so(after):
    iou = points((0.8, 0.7, 3), 12)
    detector = detect(iou)
    curve = detector.curves()[1]
    assert [detector.update([value], 1000) for value in after] == [[]] * 20
    assert detector.detected == {1: 12} and detector.curves()[1] == curve


def test_every_class_has_its_own_time():
    detector, returned = MemorizationDetector(4), {}
    fast, slow, none = points(CURVES[0], 30), points(CURVES[1], 30), [0.0] * 30
    for epoch, iou in enumerate(zip(fast, slow, none, strict=True), start=1):
        returned |= dict.fromkeys(detector.update(iou, 1000), epoch)
    assert detector.detected == returned == {1: by_hand(CURVES[0]), 2: by_hand(CURVES[1])}
    assert detector.curves()[3] is None


def test_with_one_curve_for_all_the_classes_have_one_time():
    detector = MemorizationDetector(3, per_class=False)
    iou = list(zip(points(CURVES[0], 30), points(CURVES[1], 30), strict=True))
    returned = [detector.update(values, 1000) for values in iou]
    common = detect([sum(values) / 2 for values in iou]).detected[1]
    assert detector.detected == {1: common, 2: common} and returned[common - 1] == [1, 2]
    assert detector.curves()[1] == detector.curves()[2] is not None


def test_with_one_curve_for_all_a_class_that_is_not_learned_waits_until_it_is():
    detector, late = MemorizationDetector(3, per_class=False), [0.04] * 25 + [0.2] * 5
    for values in zip(points(CURVES[0], 30), late, strict=True):
        detector.update(values, 30)
    assert detector.detected[1] < 25 and detector.detected[2] == 26


def test_a_state_goes_through_a_checkpoint_and_the_decisions_go_on():
    whole, iou = detect(points(CURVES[0], 30)), points(CURVES[0], 30)
    for stop in (3, 8, 12, 20):
        file = io.BytesIO()
        torch.save(detect(iou[:stop]).state_dict(), file)
        file.seek(0)
        resumed = MemorizationDetector(2)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        for value in iou[stop:]:
            resumed.update([value], 1000)
        assert resumed.summary() == whole.summary()


def test_the_summary_is_json_and_says_all():
    detector = MemorizationDetector(3)
    for value in points(CURVES[0], 20):
        detector.update([value, 0.0], 1000)
    first, second = json.loads(json.dumps(detector.summary(), allow_nan=False)).values()
    assert first["iou"] == detector.iou[1] and first["detected"] == 12
    assert first["fit"] == pytest.approx({"a": 0.8, "b": 0.7, "c": 3, "offset": 0}, abs=1e-3)
    assert second == {"iou": [0.0] * 20, "fit": None, "detected": None, "reason": None}


@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan])
def test_says_which_changes_are_possible(value):
    with pytest.raises(ValueError, match=f"Expected 0 < relative_change < 1, got {value}"):
        MemorizationDetector(2, relative_change=value)


@pytest.mark.parametrize("value", [0, 1.1, -0.1, math.nan])
def test_says_which_latest_fractions_are_possible(value):
    with pytest.raises(ValueError, match=f"Expected 0 < latest_fraction <= 1, got {value}"):
        MemorizationDetector(2, latest_fraction=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_says_which_smallest_iou_is_possible(value):
    with pytest.raises(ValueError, match=f"Expected 0 <= min_iou <= 1, got {value}"):
        MemorizationDetector(2, min_iou=value)


@pytest.mark.parametrize("iou", [[0.5], [0.5] * 3])
def test_an_iou_for_every_class_is_needed(iou):
    with pytest.raises(ValueError, match="zip"):
        MemorizationDetector(3).update(iou, 10)
