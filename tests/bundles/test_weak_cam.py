"""What only the bundle for image-level tags does: no mask, a missing modality, a second stage."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from monai_ext.__main__ import app
from monai_ext.datalist.datalist import items
from monai_ext.keys import UNLABELED
from monai_ext.report import Predictor
from tests.bundles.conftest import Copy

NAME = "brats_weak_cam_segmentation"
pytestmark = [
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),  # MONAI: a config is code
    pytest.mark.parametrize("name", [NAME], indirect=True, scope="session"),
]


def training(data):
    return items(data / "datalist.json", "training")


def read(path):
    return nib.load(path).get_fdata()


def first_test_case(data):
    return items(data / "datalist.json", "test")[0]


def test_no_mask_of_a_training_case_is_opened(bundle, data, tmp_path):
    assert any((data / "reference").iterdir())
    bundle.data = shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("reference"))
    assert not any("label" in item for item in training(bundle.data))
    bundle.run("train", epochs=1)
    bundle.run("train", mix_ins=["pseudo_labels"])
    assert (bundle.models / "model.pt").is_file()
    made = bundle.root / "eval" / "pseudo_labels"
    assert len(list(made.iterdir())) == len(training(data))


def test_a_training_without_a_modality_of_one_case_stops_with_one_line(bundle, write_datalist):
    def leave_t1_out(content):
        content["training"][0]["image"].pop(0)

    bundle.data = write_datalist(leave_t1_out)
    line, end = bundle.complaint("train").splitlines()
    assert line.startswith("training[0] (") and "Expected 2 channels (t1, flair), got 1 without t1" in line
    assert "nothing was trained or written" in end


def test_tags_that_are_all_positive_stop_the_training_with_one_line(bundle, write_datalist):
    def all_positive(content):
        for item in content["training"]:
            item["tags"] = [[1] * len(item["tags"][0])]

    bundle.data = write_datalist(all_positive)
    line, end = bundle.complaint("train").splitlines()
    assert "Expected slices with and without class 1, got the tag 1 in every slice" in line
    assert "nothing was trained or written" in end


MISFITS = {
    "weights_of_modalities": (
        [0, 1, 0],
        "Expected weights_of_modalities with one number >= 0 for each of mod",
    ),
    "edges": (2, "Expected edges from 0 to 1, the position of one of modalities (t1, flair), got 2; pass"),
    "threshold": (1.5, "Expected 0 < threshold <= 1, got 1.5; pass --threshold."),
}


@pytest.mark.parametrize("setting", MISFITS)
@pytest.mark.parametrize(
    ("what", "mix_ins"),
    [
        ("train", []),
        ("train", ["pseudo_labels"]),
        ("evaluate", []),
        ("infer", []),
    ],
)
def test_a_setting_that_does_not_fit_stops_every_command_with_one_line(bundle, what, mix_ins, setting):
    value, message = MISFITS[setting]
    found = bundle.complaint(what, mix_ins=mix_ins, **{setting: value})
    assert found.startswith(message) and "\n" not in found


def test_weights_of_more_modalities_are_refused(trained, data):
    options = {"modalities": ["t1"], "weights_of_modalities": [1], "edges": 0}
    message = trained.complaint("infer", input=str(data), **options)
    assert re.match(r"Expected no weights networks\.1\..*such as modalities and channels", message)


def test_evaluation_scores_every_modality_and_every_threshold(trained, data, tmp_path):
    trained.run("evaluate", output_dir=str(tmp_path), threshold=0.5)
    found = json.loads((tmp_path / "thresholds.json").read_text())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(found) == {"unit", "thresholds", "pred", "cam_t1", "cam_flair"}
    for key in ("pred", "cam_t1", "cam_flair"):
        assert len(found[key]["dice"]) == len(found["thresholds"])
        assert found[key]["best"] == found["thresholds"][np.argmax(found[key]["dice"])]
        assert [case["case"] for case in found[key]["left_out"]["cases"]] == [first_test_case(data)["case"]]
    scored = found["pred"]["dice"][found["thresholds"].index(0.5)]
    assert scored == pytest.approx(summary["mean"]["dice"], abs=1e-6)
    assert (tmp_path / "thresholds.png").stat().st_size > 1000


def test_a_picture_can_show_the_map_of_a_training_case_beside_its_mask(trained, tiny, data):
    predictor = Predictor(trained.root, data, overrides=tiny.network | {"threshold": 0.5})
    found = predictor({"image": training(data)[0]["image"]})
    assert list(found) == ["map", "pred"]
    assert 0 <= found["map"].min() < found["map"].max() <= 1
    assert found["map"].max() >= 0.5 and found["pred"].any()
    assert (found["map"][found["pred"] > 0] >= 0.5).all()


def test_inference_segments_cases_that_miss_a_modality(trained, data, tmp_path):
    t1, flair = first_test_case(data)["image"]
    for case, given in {"both": {"t1": t1, "flair": flair}, "a": {"t1": t1}, "b": {"flair": flair}}.items():
        (tmp_path / "in" / case).mkdir(parents=True)
        for modality, file in given.items():
            shutil.copy(file, tmp_path / "in" / case / f"{case}_{modality}.nii.gz")
    trained.run("infer", input=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    made = {file.name: read(file) for file in (tmp_path / "out").glob("*.nii.gz")}
    assert set(made) == {"both_seg.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz"}
    assert all(
        mask.shape == read(t1).shape and mask.any() and set(np.unique(mask)) <= {0, 1}
        for mask in made.values()
    )
    assert np.array_equal(made["b_seg.nii.gz"], made["both_seg.nii.gz"])  # t1 has no weight beside flair
    assert not np.array_equal(made["a_seg.nii.gz"], made["both_seg.nii.gz"])


def test_the_log_of_inference_names_a_case_that_lacks_a_modality(trained, data, tmp_path, caplog):
    shutil.copy(first_test_case(data)["image"][0], tmp_path / "p_t1.nii.gz")
    trained.run("infer", input=str(tmp_path), output_dir=str(tmp_path / "out"))
    poor = "; the mask will be poor, since weights_of_modalities relies on flair"
    assert f"case p: no image of flair{poor}" in caplog.messages


def test_inference_saves_the_map_that_the_mask_was_cut_from_and_a_picture(trained, data, tmp_path):
    case = first_test_case(data)
    (tmp_path / "in").mkdir()
    for file in case["image"]:
        shutil.copy(file, tmp_path / "in")
    trained.run("infer", input=str(tmp_path / "in"), output_dir=str(tmp_path / "out"), threshold=0.5)
    mask = nib.load(tmp_path / "out" / f"{case['case']}_seg.nii.gz")
    cam = nib.load(tmp_path / "out" / "maps" / f"{case['case']}_map.nii.gz")
    assert np.allclose(mask.affine, cam.affine) and mask.get_fdata().any()
    assert cam.get_fdata().min() >= 0 and cam.get_fdata().max() <= 1
    assert (cam.get_fdata()[mask.get_fdata() > 0] >= 0.5).all()
    assert (tmp_path / "out" / "pictures" / f"{case['case']}.png").stat().st_size > 1000


def test_inference_makes_the_map_that_was_evaluated(trained, tiny, data, tmp_path):
    case = first_test_case(data)
    scored = Predictor(trained.root, data, overrides=tiny.network)({"image": case["image"]})["map"]
    (tmp_path / "in").mkdir()
    for file in case["image"]:
        shutil.copy(file, tmp_path / "in")
    trained.run("infer", input=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    saved = nib.load(tmp_path / "out" / "maps" / f"{case['case']}_map.nii.gz").get_fdata()
    assert len(np.unique(saved)) > 10
    np.testing.assert_allclose(saved, scored, atol=1e-5)


@pytest.mark.parametrize(("threshold", "low", "high"), [(0.05, 0, 0.15), (0.95, 0.85, 1)])
def test_labels_can_be_cut_around_every_threshold_that_is_scored(bundle, threshold, low, high):
    parser = ConfigParser()
    parser.read_config([str(bundle.root / "configs" / f"{name}.yaml") for name in ("train", "pseudo_labels")])
    parser["threshold"] = threshold
    found = [parser.get_parsed_content(key) for key in ("low", "high")]
    assert found == pytest.approx([low, high])


@pytest.fixture(scope="session")
def predictions(trained):
    """Folder of the labels that the maps of the training cases became."""
    trained.run("train", mix_ins=["pseudo_labels"])
    return trained.root / "eval" / "pseudo_labels"


def test_pseudo_labels_are_region_background_or_undecided_and_obey_the_tags(predictions, data):
    assert {file.name for file in predictions.iterdir()} == {
        f"{i['case']}_seg.nii.gz" for i in training(data)
    }
    values = set()
    for item in training(data):
        made, image = nib.load(predictions / f"{item['case']}_seg.nii.gz"), nib.load(item["image"][0])
        assert made.shape == image.shape and np.allclose(made.affine, image.affine)
        values |= set(np.unique(made.get_fdata()))
        assert not made.get_fdata()[..., np.array(item["tags"][0]) == 0].any()
    assert {0, 1} <= values <= {0, 1, UNLABELED}


@pytest.fixture(scope="session")
def second_stage(name, tiny, data, predictions, tmp_path_factory):
    """A copy whose segmentation network was trained on these labels."""
    folder = tmp_path_factory.mktemp("second_stage")
    words = ["pseudo-labels", str(data), "--predictions", str(predictions), "--out", str(folder / "data")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    copy = Copy(name, tiny, folder / "data", folder / "bundle")
    copy.run("train", mix_ins=["second_stage"])
    return copy


def test_the_second_stage_learns_from_the_pseudo_labels(second_stage, data):
    learned = training(second_stage.data)
    assert {item["supervision"] for item in learned} == {"noisy"}
    assert [item["case"] for item in learned] == [item["case"] for item in training(data)]
    assert (second_stage.models / "second_stage" / "model.pt").is_file()
    assert not (second_stage.models / "model.pt").exists()


def test_the_second_stage_segments_what_its_evaluation_scored(second_stage, data, tmp_path):
    second_stage.run("evaluate", mix_ins=["second_stage"])
    summary = json.loads((second_stage.root / "eval" / "second_stage" / "summary.json").read_text())
    case = first_test_case(data)
    for file in case["image"]:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "in")
    given = {"input": str(tmp_path / "in"), "output_dir": str(tmp_path / "out")}
    second_stage.run("infer", mix_ins=["second_stage_inference"], **given)
    found, truth = read(tmp_path / "out" / f"{case['case']}_seg.nii.gz"), read(case["label"])
    dice = 2 * (found * truth).sum() / (found.sum() + truth.sum())
    assert summary["mean"]["dice"] == pytest.approx(dice, abs=1e-4)


def test_the_second_stage_refuses_a_case_that_lacks_a_modality(second_stage, data, tmp_path):
    shutil.copy(first_test_case(data)["image"][0], tmp_path / "p_t1.nii.gz")
    given = {"input": str(tmp_path), "output_dir": str(tmp_path / "out")}
    message = second_stage.complaint("infer", mix_ins=["second_stage_inference"], **given)
    assert "case p: Expected t1, flair, got no image of flair; segment it" in message
    assert not (tmp_path / "out").exists()
