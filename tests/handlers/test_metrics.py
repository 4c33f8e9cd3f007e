import pytest
import torch
from ignite.engine import Engine

from monai_ext.handlers.metrics import mean_dice


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
