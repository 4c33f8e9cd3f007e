import json
import logging

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.metrics import DiceMetric

from monai_ext.handlers import ThresholdChoice
from monai_ext.handlers.threshold_choice import THRESHOLDS
from monai_ext.images import OrientSlicesd
from monai_ext.transforms.cam_to_mask import MaskInOriginalSpaced

SIZE = (6, 5, 4)


def case(cam, label, patient="p", name=None, spacing=(1.0, 1.0, 1.0), **more):
    """A volume as the evaluator's output has it, with its names."""
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    item = {"label": MetaTensor(label, affine=affine), "pred_map": cam, **more}
    return {"case": name or patient, "patient": patient}, item


def random_case(patient="p", seed=0):
    """A map of multiples of 1/20, which lie on the thresholds, and a label."""
    generator = torch.Generator().manual_seed(seed)
    cam = torch.randint(21, (1, *SIZE), generator=generator) / 20
    return case(cam, torch.randint(2, (1, *SIZE), generator=generator), patient)


def bar(object_value, wrong_value=0.0):
    """A map that is right from above ``wrong_value`` to ``object_value``, and its label."""
    cam, label = torch.zeros(1, *SIZE), torch.zeros(1, *SIZE)
    label[:, 1:3, 1:3, 1:3] = 1
    cam[label > 0] = object_value
    cam[:, 3:5, 1:3, 1:3] = wrong_value  # as large as the object: a Dice of 2/3 where it is taken for it
    return cam, label


@pytest.fixture
def choose(tmp_path):
    """Runs the handler over cases, two an iteration, and returns what it wrote."""

    def run(cases, **options):
        evaluator = Engine(lambda engine, batch: engine.state.items[engine.state.iteration - 1])
        evaluator.state.items = [[item for _, item in cases[n : n + 2]] for n in range(0, len(cases), 2)]
        ThresholdChoice(str(tmp_path), **options).attach(evaluator)
        evaluator.run([[names for names, _ in cases[n : n + 2]] for n in range(0, len(cases), 2)])
        return json.loads((tmp_path / "thresholds.json").read_text())

    return run


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    figures, close = [], plt.close
    monkeypatch.setattr(plt, "close", figures.append)
    yield figures
    for figure in figures:
        close(figure)


def dice_by_hand(mask, label):
    both = total = 0
    for found, true in zip(mask.flatten().tolist(), label.flatten().tolist(), strict=True):
        both += found and true
        total += found + true
    return 2 * both / total


def test_dice_at_every_threshold_is_that_of_the_mask_by_hand(choose):
    cases = [random_case(seed=seed) for seed in range(3)]
    found = choose(cases, component="all")
    for threshold, dice in zip(found["thresholds"], found["pred"]["dice"], strict=True):
        masks = [item["pred_map"] >= threshold - 1e-6 for _, item in cases]
        by_hand = [dice_by_hand(m.int(), item["label"]) for m, (_, item) in zip(masks, cases, strict=True)]
        assert dice == pytest.approx(np.mean(by_hand))
    assert found["pred"]["best"] == found["thresholds"][int(np.argmax(found["pred"]["dice"]))]


def test_masks_are_those_of_the_postprocessing(choose):
    _, item = only = random_case()
    found = choose([only])["pred"]["dice"]
    for threshold, dice in zip(THRESHOLDS, found, strict=True):
        cam = MetaTensor(item["pred_map"])
        orient = OrientSlicesd("image", "LPS")  # leaves an image without an affine as it is
        image = orient({"image": torch.zeros(cam.shape)})["image"]
        kept = MaskInOriginalSpaced("pred", orient, threshold)({"image": image, "pred": cam})["pred"]
        wanted = DiceMetric()(kept[None], item["label"][None])
        assert dice == pytest.approx(float(wanted), abs=1e-6)


def test_the_threshold_of_a_patient_is_chosen_by_the_others(choose):
    """The first needs at most 0.3, the others more than 0.5; below it they have a Dice of 2/3."""
    cases = [case(*bar(0.3), "a"), case(*bar(0.8, 0.5), "b"), case(*bar(0.8, 0.5), "c")]
    found = choose(cases, component="all")["pred"]["left_out"]
    assert [c["threshold"] for c in found["cases"]] == [0.55, 0.05, 0.05]
    scores = [c["classes"]["region"]["dice"] for c in found["cases"]]
    assert scores == pytest.approx([0, 2 / 3, 2 / 3])
    assert found["mean"]["dice"] == pytest.approx(np.mean(scores))


def test_all_cases_of_a_patient_are_left_out_together(choose):
    both = [case(*bar(0.3), "a", "a1"), case(*bar(0.3), "a", "a2")]
    found = choose([*both, case(*bar(0.8, 0.5), "b", "b1")], component="all")["pred"]["left_out"]
    assert [(c["case"], c["threshold"]) for c in found["cases"]] == [("a1", 0.55), ("a2", 0.55), ("b1", 0.05)]


def test_a_single_patient_is_scored_by_its_own_choice(choose):
    found = choose([case(*bar(0.8, 0.5))], component="all")["pred"]
    assert found["best"] == found["left_out"]["cases"][0]["threshold"] == 0.55
    assert found["left_out"]["mean"]["dice"] == 1


def test_which_component_is_kept(choose):
    cam, label = bar(0.8)
    cam[0, 5, 4, 3] = 0.9

    def dice(which):
        return choose([case(cam, label)], component=which)["pred"]["dice"][0]

    assert dice("largest") == 1
    assert dice("all") == pytest.approx(16 / 17)
    assert dice("highest") == 0
    cam[0, 5, 4, 3] = 0.7
    assert dice("highest") == 1


def test_empty_maps_and_labels_count_as_right_only_together(choose):
    nothing, (cam, label) = torch.zeros(1, *SIZE), bar(0.8)
    assert choose([case(nothing, nothing)])["pred"]["dice"] == [1] * len(THRESHOLDS)
    assert choose([case(nothing, label)])["pred"]["dice"] == [0] * len(THRESHOLDS)
    without_object = choose([case(cam, nothing)])["pred"]["dice"]
    assert without_object == [float(threshold > 0.8) for threshold in THRESHOLDS]


def test_where_no_score_is_defined_it_is_null_and_the_log_says_nan(choose, caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    nothing = torch.zeros(1, *SIZE)
    found = choose([case(nothing, nothing)])["pred"]["left_out"]
    assert found["mean"] == {"dice": None, "hd95": None}
    assert "pred: best threshold 0.05, mean Dice 1.0000; patients left out of the choice: nan" in caplog.text


@pytest.mark.parametrize(("unit", "factor"), [("mm", 2), ("voxel", 1)])
def test_distances_are_in_the_unit_of_the_data(choose, unit, factor):
    cam, label = bar(0.8)
    moved = case(cam.roll(1, dims=1), label, spacing=(2.0, 2.0, 2.0))
    found = choose([moved], unit=unit)
    assert found["unit"] == unit
    assert found["pred"]["left_out"]["mean"]["hd95"] == pytest.approx(factor)


def test_every_key_has_an_entry_and_a_curve(choose, tmp_path, drawn):
    (cam, label), (other, _) = bar(0.8), bar(0.2)
    found = choose([case(cam, label, cam_t1_map=other)], keys=("pred", "cam_t1"))
    assert found["pred"]["dice"][9] == 1 and found["cam_t1"]["dice"][9] == 0
    [axis] = drawn[0].axes
    names = ["fused map", "t1 alone", "best for the fused map: 0.05"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == names
    assert axis.lines[1].get_ydata().tolist() == found["cam_t1"]["dice"]
    assert plt.imread(tmp_path / "thresholds.png").shape[0] > 100


def test_the_best_threshold_of_the_first_map_is_marked(choose, drawn):
    best = choose([case(*bar(0.8, 0.5))], component="all")["pred"]["best"]
    curve, mark = drawn[0].axes[0].lines
    assert curve.get_label() == "map" and mark.get_label() == "best for the map: 0.55"
    assert set(mark.get_xdata()) == {best} == {0.55}


@pytest.mark.parametrize(
    ("labels", "name"), [(None, "region"), ({}, "region"), ({"0": "background", "1": "tumor"}, "tumor")]
)
def test_scores_are_under_the_name_of_the_class(choose, labels, name):
    found = choose([case(*bar(0.8))], labels=labels)["pred"]["left_out"]
    assert list(found["classes"]) == list(found["cases"][0]["classes"]) == [name]


def test_without_a_key_nothing_is_attached_or_written(tmp_path):
    evaluator = Engine(lambda engine, batch: None)
    ThresholdChoice(str(tmp_path / "out"), keys=()).attach(evaluator)
    evaluator.run([[]])
    assert not (tmp_path / "out").exists()


def test_a_second_evaluation_starts_anew(tmp_path):
    names, item = case(*bar(0.8))
    evaluator = Engine(lambda engine, batch: [item])
    ThresholdChoice(str(tmp_path)).attach(evaluator)
    for _ in range(2):
        evaluator.run([[names]])
    assert len(json.loads((tmp_path / "thresholds.json").read_text())["pred"]["left_out"]["cases"]) == 1
