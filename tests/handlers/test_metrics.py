import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError

from monai_ext.handlers.metrics import mean_dice, tag_accuracy, tags_of_slices


def run(cases, num_classes=3):
    """Value of the metric over a run whose iterations give one decollated volume each."""
    engine = Engine(lambda engine, case: [dict(zip(("teacher", "label"), case, strict=True))])
    mean_dice("teacher", num_classes).attach(engine, "dice")
    return engine.run(cases).metrics["dice"]


def volume(*values):
    return torch.tensor(values).view(1, -1, 1, 1)


def test_it_is_the_mean_of_the_foreground_classes():
    pred, label = volume(0, 1, 1, 2, 2, 2), volume(0, 1, 2, 2, 2, 0)
    assert run([(pred, label)]) == pytest.approx((2 / 3 + 4 / 6) / 2)


def test_the_background_does_not_count():
    pred, label = volume(0, 0, 0, 1, 0, 0), volume(0, 0, 0, 0, 1, 0)
    assert run([(pred, label)], num_classes=2) == 0


def test_a_class_that_is_predicted_but_absent_counts_0():
    absent = volume(1, 1, 0)
    assert run([(volume(1, 2, 0), absent)]) == pytest.approx((2 / 3 + 0) / 2)
    assert run([(volume(1, 1, 0), absent)]) == 1


def test_cases_count_equally_whatever_their_size():
    perfect = volume(1, 1, 1, 1, 1, 1), volume(1, 1, 1, 1, 1, 1)
    missed = volume(0, 0, 0), volume(0, 0, 1)
    assert run([perfect, missed], num_classes=2) == pytest.approx(0.5)


def test_the_sum_over_cases_is_reset_between_runs():
    engine = Engine(lambda engine, case: [dict(zip(("pred", "label"), case, strict=True))])
    mean_dice("pred", 2).attach(engine, "dice")
    right, wrong = (volume(0, 1), volume(0, 1)), (volume(1, 0), volume(0, 1))
    assert [engine.run([case]).metrics["dice"] for case in (wrong, right)] == [0, 1]


def scored(*margins):
    """Score maps (M K, 2, 2, D) of constant maps: by modality and slice, how far the object is ahead."""
    ahead = torch.tensor(margins, dtype=torch.float32)
    scores = torch.stack((torch.zeros_like(ahead), ahead), dim=1).flatten(0, 1)
    return scores[:, None, None].expand(-1, 2, 2, -1)


def tag_run(*cases, share=1.0):
    """Accuracy over a run whose iterations give one decollated volume each."""
    engine = Engine(lambda engine, case: [dict(zip(("pred", "label"), case, strict=True))])
    tag_accuracy(share).attach(engine, "accuracy")
    return engine.run(list(cases)).metrics["accuracy"]


def test_tags_are_found_by_the_mean_probability_of_all_modalities():
    margins = np.array([[3.0, -3.0, 1.0, -0.5], [1.0, -1.0, -4.0, 4.0]])
    probs = (1 / (1 + np.exp(-margins))).mean(axis=0)
    found, true = tags_of_slices(
        [{"pred": scored(*margins.tolist()), "label": torch.tensor([[1, 1, 0, 0]])}], 1.0
    )
    assert found.tolist() == (probs > 0.5).tolist() == [1, 0, 0, 1]
    assert true.tolist() == [1, 1, 0, 0]


def test_tag_accuracy_is_the_share_of_slices_over_all_volumes():
    first = scored([2.0, 2.0, -2.0]), torch.tensor([[1, 0, 0]])
    second = scored([2.0]), torch.tensor([[1]])
    assert tag_run(first, second) == pytest.approx(3 / 4)
    assert tag_run(second) == 1


def test_slices_of_unknown_tag_do_not_count():
    half_known = scored([2.0, 2.0, -2.0]), torch.tensor([[255, 1, 255]])
    unknown = scored([2.0, -2.0]), torch.tensor([[255, 255]])
    assert tag_run(half_known, unknown) == 1
    with pytest.raises(NotComputableError, match="at least one example"):
        tag_run(unknown)


def test_a_small_object_is_found_if_few_positions_make_the_score():
    maps = torch.zeros(2, 4, 4, 1)
    maps[1] = -1.0
    maps[1, 0, 0] = 5.0
    volume = maps, torch.tensor([[1]])
    assert tag_run(volume, share=1 / 16) == 1
    assert tag_run(volume, share=1.0) == 0
