import csv
import json
import logging
import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.metrics import DiceMetric, HausdorffDistanceMetric
from monai.networks.utils import one_hot
from scipy import ndimage

from monai_ext.handlers.evaluation import EvaluationSummary, score_volume

SIZE = (12, 10, 8)
SPACING = (1.5, 1.0, 8.0)
LABELS = {"0": "background", "1": "cavity", "2": "wall"}


def cube(shift=(0, 0, 0), value=1, side=3):
    """(1, *SIZE) with a cube that begins at (2, 2, 2), moved by ``shift`` voxels."""
    volume = torch.zeros(1, *SIZE, dtype=torch.int64)
    volume[(0, *(slice(2 + s, 2 + s + side) for s in shift))] = value
    return volume


def by_hand(pred, label, spacing):
    """Dice and the larger of both directions' 95th percentile of surface distances, through scipy."""
    pred, label = pred[0].numpy() > 0, label[0].numpy() > 0
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (pred, label)]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    directed = [np.percentile(away[1][surfaces[0]], 95), np.percentile(away[0][surfaces[1]], 95)]
    return {"dice": 2 * (pred & label).sum() / (pred.sum() + label.sum()), "hd95": max(directed)}


def blobs(seed):
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=SIZE))
    return torch.from_numpy(ndimage.gaussian_filter(noise.numpy(), 1.5) > 0.02).long()[None]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING], ids=["voxel", "mm"])
def test_scores_equal_those_by_hand(seed, spacing):
    pred, label = blobs(seed), blobs(seed + 100)
    assert score_volume(pred, label, 2, spacing) == [pytest.approx(by_hand(pred, label, spacing), rel=1e-5)]


def test_scores_of_several_classes_equal_monais_metrics():
    pred, label = blobs(1) + blobs(2), blobs(3) + blobs(4)
    onehots = [one_hot(volume[None], 3) for volume in (pred, label)]
    dice = DiceMetric(include_background=False, reduction="none")(*onehots)[0]
    distance = HausdorffDistanceMetric(percentile=95, reduction="none")(*onehots, spacing=SPACING)[0]
    wanted = [{"dice": float(d), "hd95": float(h)} for d, h in zip(dice, distance, strict=True)]
    assert score_volume(pred, label, 3, SPACING) == [pytest.approx(scores) for scores in wanted]


@pytest.mark.parametrize("axis", range(3))
def test_a_shift_by_two_voxels_counts_their_spacing(axis):
    shift = [2 * (a == axis) for a in range(3)]
    [scores] = score_volume(cube(shift), cube(), 2, SPACING)
    assert scores == pytest.approx({"dice": 1 / 3, "hd95": 2 * SPACING[axis]})


def test_a_perfect_prediction_scores_one_and_zero():
    assert score_volume(cube(), cube(), 2, SPACING) == [{"dice": 1.0, "hd95": 0.0}]


@pytest.mark.parametrize("empty_first", [True, False], ids=["missed", "invented"])
def test_a_class_in_one_volume_only_scores_zero_and_the_diagonal(empty_first):
    pair = (0 * cube(), cube()) if empty_first else (cube(), 0 * cube())
    diagonal = math.hypot(12 * 1.5, 10 * 1.0, 8 * 8.0)
    assert score_volume(*pair, 2, SPACING) == [pytest.approx({"dice": 0.0, "hd95": diagonal})]


def test_a_class_in_no_volume_is_undefined_and_changes_no_other():
    cavity, wall = score_volume(cube(), cube(), 3, SPACING)
    assert cavity == {"dice": 1.0, "hd95": 0.0}
    assert math.isnan(wall["dice"]) and math.isnan(wall["hd95"])


def evaluate(folder, volumes, runs=1, **options):
    """Run the handler over (pred, teacher, label) and return the text of summary.json."""
    affine = torch.diag(torch.tensor([*SPACING, 1.0]))
    batches = []
    for number, (pred, teacher, label) in enumerate(volumes):
        item = {"pred": pred, "teacher": teacher, "label": MetaTensor(label, affine=affine)}
        batches.append(([{"case": f"p{number}"}], [item]))

    def step(engine, batch):
        engine.state.batch = batch[0]
        return batch[1]

    engine = Engine(step)
    EvaluationSummary(str(folder), LABELS, also=["teacher"], **options).attach(engine)
    for _ in range(runs):
        engine.run(batches)
    return (folder / "summary.json").read_text(encoding="utf-8")


def strict(text):
    """JSON without the NaN and Infinity that Python would write and read."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


VOLUMES = [
    (cube(), cube((0, 0, 2)), cube()),
    (cube((2, 0, 0)), cube(), cube()),
]


def test_the_summary_has_the_form_that_every_bundle_writes(tmp_path):
    text = evaluate(tmp_path / "new" / "eval", VOLUMES)
    student, undefined = (
        {"dice": pytest.approx(2 / 3), "hd95": pytest.approx(1.5)},
        {"dice": None, "hd95": None},
    )
    summary = strict(text)
    cases = summary.pop("cases")
    teacher = summary.pop("teacher")
    assert summary == {"unit": "mm", "mean": student, "classes": {"cavity": student, "wall": undefined}}
    assert [case["case"] for case in cases] == ["p0", "p1"]
    assert cases[1] == {
        "case": "p1",
        "classes": {"cavity": pytest.approx({"dice": 1 / 3, "hd95": 3.0}), "wall": undefined},
    }
    assert set(teacher) == {"mean", "classes", "cases"}
    assert teacher["mean"] == pytest.approx({"dice": 2 / 3, "hd95": 8.0})


@pytest.mark.parametrize(("unit", "distance"), [("mm", 3.0), ("voxel", 2.0)])
def test_distances_are_in_the_unit_that_is_asked_for(tmp_path, unit, distance):
    summary = strict(evaluate(tmp_path, VOLUMES[1:], unit=unit))
    assert summary["unit"] == unit
    assert summary["mean"]["hd95"] == pytest.approx(distance)


def test_the_mean_is_that_of_the_classes_which_are_means_of_the_cases_that_have_them(tmp_path):
    wall = cube((4, 4, 2), value=2)
    volumes = [(cube(), cube(), cube()), (cube() + wall, cube(), cube() + wall), (cube() * 0, cube(), cube())]
    summary = strict(evaluate(tmp_path, volumes))
    assert summary["classes"]["cavity"]["dice"] == pytest.approx(2 / 3)
    assert summary["classes"]["wall"] == {"dice": 1.0, "hd95": 0.0}
    assert summary["mean"]["dice"] == pytest.approx((2 / 3 + 1) / 2)


def test_nothing_defined_at_all_is_null_everywhere(tmp_path):
    summary = strict(evaluate(tmp_path, [(0 * cube(), 0 * cube(), 0 * cube())]))
    assert summary["mean"] == {"dice": None, "hd95": None}


def test_the_table_has_a_line_for_each_case_prediction_and_class(tmp_path):
    evaluate(tmp_path, VOLUMES)
    with (tmp_path / "cases.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["case", "prediction", "class", "dice", "hd95_mm"]
    assert [row[:3] for row in rows] == [
        [case, prediction, name]
        for prediction in ("pred", "teacher")
        for case in ("p0", "p1")
        for name in ("cavity", "wall")
    ]
    assert [float(value) for value in rows[2][3:]] == pytest.approx([1 / 3, 3.0])


def test_a_second_run_does_not_remember_the_first(tmp_path):
    assert len(strict(evaluate(tmp_path, VOLUMES, runs=2))["cases"]) == 2


@pytest.mark.parametrize(
    ("pred", "shown"),
    [(cube(), "Dice 1.0000, HD95 0.00 mm"), (cube((5, 0, 0)), "Dice 0.0000, HD95 7.50 mm")],
    ids=["perfect", "apart"],
)
def test_the_log_line_does_not_take_zero_for_undefined(tmp_path, caplog, pred, shown):
    caplog.set_level(logging.INFO)
    evaluate(tmp_path, [(pred, pred, cube())])
    assert f"1 cases: mean {shown}" in caplog.text


def test_a_bar_shows_before_the_first_case_is_done(tmp_path, capsys):
    evaluate(tmp_path, [(cube(), cube(), cube())])
    assert "evaluating:   0%" in capsys.readouterr().err


def test_another_unit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected unit 'mm' or 'voxel', got 'inch'"):
        EvaluationSummary(str(tmp_path), LABELS, "inch")
