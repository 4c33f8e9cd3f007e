import math

import numpy as np
import pytest

from monai_ext.report.cases import NOISY, Shown
from monai_ext.report.scores import CAPTION, mean_dice, scores_of, table_of

LABELS = {"0": "background", "1": "heart", "2": "trachea", "3": "aorta"}


def blocks(*values):
    """A label map of three slices of 4 x 4, each of one value."""
    return np.stack([np.full((4, 4), value) for value in values], axis=2)


def case(section="test", spacing=(1.0, 1, 5), **volumes):
    return Shown(section, "a", {"image": blocks(0, 0, 0), **volumes}, spacing)


def test_mean_dice_is_that_of_loops_over_the_classes_that_are_there():
    rng = np.random.default_rng(0)
    pred, truth = rng.integers(0, 3, (4, 3, 2)), 2 * rng.integers(0, 2, (4, 3, 2))
    dice = [2 * ((pred == k) & (truth == k)).sum() / ((pred == k).sum() + (truth == k).sum()) for k in (1, 2)]
    scores = scores_of(case(prediction=pred, truth=truth), LABELS, "mm")
    assert mean_dice(scores["prediction"]) == pytest.approx(np.mean(dice))
    assert math.isnan(scores["prediction"]["aorta"]["dice"])


@pytest.mark.parametrize(("unit", "apart"), [("mm", 5), ("voxel", 1)])
def test_the_distance_has_the_unit_of_the_datalist(unit, apart):
    shown = case(prediction=blocks(1, 0, 0), truth=blocks(0, 1, 0))
    assert scores_of(shown, LABELS, unit)["prediction"]["heart"]["hd95"] == pytest.approx(apart)


def test_a_class_that_only_one_mask_has_counts_as_the_diagonal_as_the_caption_says():
    shown = case(prediction=blocks(0, 0, 0), truth=blocks(0, 1, 0))
    score = scores_of(shown, LABELS, "mm")["prediction"]["heart"]
    assert score == {"dice": 0, "hd95": pytest.approx(math.hypot(4, 4, 15))}
    assert "diagonal" in CAPTION and "95th percentile" in CAPTION


def test_images_maps_marks_and_columns_that_a_case_lacks_have_no_score():
    volumes = {
        "map": blocks(0, 0, 0),
        "weak label": blocks(255, 1, 255),
        NOISY: None,
        "truth": blocks(0, 1, 0),
    }
    assert scores_of(case(**volumes), LABELS, "mm") == {}


def test_the_table_has_one_row_for_every_class_and_one_for_their_mean():
    shown = case(prediction=blocks(1, 3, 0), truth=blocks(1, 2, 0))
    heading, rows = table_of([(shown, scores_of(shown, LABELS, "mm"))], LABELS, "mm")
    assert [row[0] for row in rows] == ["heart", "trachea", "aorta", "mean"]
    assert heading == ["class", "prediction\nDice", "prediction\nHD95, mm"]
    assert [row[1] for row in rows] == ["1.00", "0.00", "0.00", "0.33"]


def test_predictions_are_scored_on_unseen_cases_and_labels_on_training_cases():
    truth = blocks(1, 0, 0)
    taught = case("training", truth=truth, prediction=truth, **{NOISY: truth})
    unseen = case("test", truth=truth, prediction=blocks(0, 1, 0), **{NOISY: None})
    scored = [(shown, scores_of(shown, LABELS, "mm")) for shown in (taught, unseen)]
    heading, (heart, *_) = table_of(scored, LABELS, "mm")
    found = dict(zip(heading, heart, strict=True))
    assert (found[f"{NOISY}\nDice"], found["prediction\nDice"]) == ("1.00", "0.00")


def test_without_unseen_cases_predictions_are_scored_on_training_cases():
    shown = case("training", truth=blocks(1, 0, 0), prediction=blocks(1, 0, 0))
    _, (heart, *_) = table_of([(shown, scores_of(shown, LABELS, "mm"))], LABELS, "mm")
    assert heart[1] == "1.00"


def test_a_single_class_has_no_mean_that_repeats_it():
    shown = case(prediction=blocks(1, 0, 0), truth=blocks(1, 0, 0))
    labels = {"0": "background", "1": "heart"}
    _, rows = table_of([(shown, scores_of(shown, labels, "mm"))], labels, "mm")
    assert [row[0] for row in rows] == ["heart"]


def test_what_is_not_defined_is_a_dash():
    shown = case(prediction=blocks(0, 0, 0), truth=blocks(0, 0, 0))
    _, rows = table_of([(shown, scores_of(shown, LABELS, "mm"))], LABELS, "mm")
    assert {cell for row in rows for cell in row[1:]} == {"\N{EN DASH}"}
