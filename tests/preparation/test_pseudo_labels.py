import json

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.datalist import items, write_datalist
from monai_ext.preparation.pseudo_labels import write_pseudo_labels

SHAPE = (6, 5, 3)


def save(path, array, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(dtype), np.eye(4)), path)


@pytest.fixture
def first(tmp_path):
    """A datalist with a full, a partial and an unlabeled training case and one for validation."""
    rng = np.random.default_rng(0)
    listed = {"training": [], "validation": []}
    for case, kind, section in (
        ("a", "full", "training"),
        ("b", "partial", "training"),
        ("c", "none", "training"),
        ("d", "full", "validation"),
    ):
        save(tmp_path / "images" / f"{case}.nii.gz", rng.random(SHAPE), np.float32)
        item = {"image": f"images/{case}.nii.gz", "supervision": kind, "case": case, "patient": case}
        if kind != "none":
            save(tmp_path / "labels" / f"{case}.nii.gz", rng.integers(0, 2, SHAPE), np.uint8)
            item["label"] = f"labels/{case}.nii.gz"
        listed[section].append(item)
    labels = {0: "background", 1: "organ"}
    return write_datalist(tmp_path / "datalist.json", name="x", labels=labels, **listed)


@pytest.fixture
def predictions(tmp_path):
    """What an inference wrote for b and c."""
    for case, value in (("b", 0), ("c", 1)):
        array = np.zeros(SHAPE)
        array[2, 2, value] = 1
        save(tmp_path / "pred" / f"{case}_seg.nii.gz", array, np.uint8)
    return tmp_path / "pred"


def test_predictions_become_noisy_labels_and_full_masks_stay(first, predictions, tmp_path):
    assert write_pseudo_labels(first, predictions, tmp_path / "out") == {"full": 1, "noisy": 2}
    made = {item["case"]: item for item in items(tmp_path / "out" / "datalist.json", "training")}
    assert [made[case]["supervision"] for case in "abc"] == ["full", "noisy", "noisy"]
    for case in "bc":
        found, wanted = (
            nib.load(file).get_fdata() for file in (made[case]["label"], predictions / f"{case}_seg.nii.gz")
        )
        np.testing.assert_array_equal(found, wanted)
    assert made["a"]["label"] == items(first, "training")[0]["label"]


def test_validation_stays_and_a_later_inference_changes_nothing(first, predictions, tmp_path):
    write_pseudo_labels(first, predictions, tmp_path / "out")
    new = tmp_path / "out" / "datalist.json"
    assert items(new, "validation") == items(first, "validation")
    before = nib.load(items(new, "training")[1]["label"]).get_fdata()
    save(predictions / "b_seg.nii.gz", np.ones(SHAPE), np.uint8)
    np.testing.assert_array_equal(nib.load(items(new, "training")[1]["label"]).get_fdata(), before)


def test_a_missing_prediction_is_named_and_nothing_is_made(first, predictions, tmp_path):
    (predictions / "c_seg.nii.gz").unlink()
    with pytest.raises(
        ValueError, match=r"case c: Expected its prediction .*c_seg.nii.gz, found none;"
    ) as caught:
        write_pseudo_labels(first, predictions, tmp_path / "out")
    assert "as the README of the first bundle says" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_prediction_of_other_classes_is_refused_and_nothing_is_left(first, predictions, tmp_path):
    save(predictions / "b_seg.nii.gz", np.full(SHAPE, 7), np.uint8)
    with pytest.raises(ValueError, match=r"\(b\): label .*Expected values among \[0, 1\], got 7"):
        write_pseudo_labels(first, predictions, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_doubtful_case_there_is_nothing_to_do(first, predictions, tmp_path):
    content = json.loads(first.read_text())
    content["training"] = content["training"][:1]
    first.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="without a full mask, got none"):
        write_pseudo_labels(first, predictions, tmp_path / "out")


def test_an_existing_folder_is_left_alone(first, predictions, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="which exists; choose another"):
        write_pseudo_labels(first, predictions, tmp_path / "out")


def same_names(folder, *cases):
    """A datalist of unlabeled images that are called the same in folders of patients, and a full one."""
    rng = np.random.default_rng(1)
    listed = []
    for case in cases:
        save(folder / case / "imaging.nii.gz", rng.random(SHAPE), np.float32)
        listed.append({"image": f"{case}/imaging.nii.gz", "supervision": "none", "case": case})
    return write_datalist(
        folder / "same.json", name="x", labels={0: "background", 1: "organ"}, training=listed
    )


def test_images_of_one_name_take_predictions_from_their_folders(tmp_path):
    path, mask = same_names(tmp_path, "p1", "p2"), np.zeros(SHAPE)
    for number, case in enumerate(("p1", "p2")):
        mask[number, 2, 1] = 1
        save(tmp_path / "pred" / case / "imaging_seg.nii.gz", mask, np.uint8)
    write_pseudo_labels(path, tmp_path / "pred", tmp_path / "out")
    made = items(tmp_path / "out" / "datalist.json", "training")
    assert [nib.load(item["label"]).get_fdata().sum() for item in made] == [1, 2]


def test_one_prediction_is_never_that_of_two_cases(tmp_path):
    path = same_names(tmp_path, "p1", "p2")
    save(tmp_path / "pred" / "imaging_seg.nii.gz", np.ones(SHAPE), np.uint8)
    with pytest.raises(ValueError, match=r"case p1: Expected its prediction .*pred/p1/imaging_seg\.nii\.gz"):
        write_pseudo_labels(path, tmp_path / "pred", tmp_path / "out")
    deeper = same_names(tmp_path, "a/p", "b/p")
    save(tmp_path / "pred" / "p" / "imaging_seg.nii.gz", np.ones(SHAPE), np.uint8)
    with pytest.raises(ValueError, match=r"case b/p: Expected a prediction of its own, .* which a/p has"):
        write_pseudo_labels(deeper, tmp_path / "pred", tmp_path / "out")


def test_two_cases_of_one_name_have_no_place_for_their_labels(first, predictions, tmp_path):
    content = json.loads(first.read_text())
    content["training"][2]["case"] = "b"
    first.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r'training\[2\] \(b\): Expected a "case" of its own'):
        write_pseudo_labels(first, predictions, tmp_path / "out")
    assert not (tmp_path / "out").exists()
