import nibabel as nib
import numpy as np
import pytest

from monai_ext import bundle
from monai_ext.datalist import write_datalist
from monai_ext.keys import CASE, IMAGE, LABEL
from tests.exit_messages import message_of


def voxels_of(name):
    """An image that no other name has."""
    return np.arange(32).reshape(4, 4, 2) + sum(map(ord, name)) % 199


@pytest.fixture
def case(tmp_path):
    """A case with an image and a label of two classes, as a function of the label's largest value."""

    def write(name="a", highest=1):
        label = np.zeros((4, 4, 2), np.uint8)
        label[1:3, 1:3] = highest
        for key, array in ((IMAGE, voxels_of(name)), (LABEL, label)):
            nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), tmp_path / f"{name}_{key}.nii.gz")
        return {key: str(tmp_path / f"{name}_{key}.nii.gz") for key in (IMAGE, LABEL)} | {CASE: name}

    return write


def test_items_are_those_of_the_datalist(tmp_path, case):
    path = tmp_path / "datalist.json"
    write_datalist(
        path, name="x", labels={0: "background", 1: "heart"}, training=[case("a")], test=[case("b")]
    )
    assert [item[CASE] for item in bundle.read_items(path, "training", "test")] == ["a", "b"]
    first = bundle.read_items(path, "validation", "test", first_available=True)
    assert [item[CASE] for item in first] == ["b"]
    assert bundle.read_unit(path) == "mm"
    assert list(bundle.read_labels(path).values()) == ["background", "heart"]


def test_a_broken_datalist_is_refused_with_one_line(tmp_path):
    path = tmp_path / "datalist.json"
    path.write_text("{")
    message = message_of(bundle.read_items, path, "training")
    assert "\n" not in message and f"{path}: Expected JSON" in message


def test_valid_data_pass(case):
    sections = {"training": [case("a")], "validation": [case("b")]}
    bundle.require_data("none.json", sections, 2)


def test_of_invalid_data_every_problem_is_named(case):
    bad = case("bad", highest=3)
    missing = {IMAGE: "/nowhere/image.nii.gz", "supervision": "none"}
    message = message_of(bundle.require_data, "none.json", {"training": [case("a"), bad, missing]}, 2)
    assert "training[1] (bad)" in message and "training[2]" in message and "training[0]" not in message
    assert message.endswith("The data cannot be used as it is; nothing was trained or written.")


@pytest.fixture
def datalist(tmp_path, case):
    path = tmp_path / "datalist.json"
    lists = {"training": [case("a")], "test": [case("b")]}
    write_datalist(path, name="x", labels={0: "background", 1: "heart"}, **lists)
    return path


def test_says_that_the_datalist_has_other_classes(datalist, case):
    message = message_of(bundle.require_data, datalist, {"training": [case("a")]}, 4)
    assert f"{datalist}: Expected 4 classes, as num_classes says, got 2: background, heart" in message


def test_a_test_patient_may_not_be_trained_on(datalist, case):
    bundle.require_data(datalist, {"training": [case("a")]}, 2)
    message = message_of(bundle.require_data, datalist, {"training": [case("b")]}, 2)
    assert "training[0] (b)" in message and "test[0] (b)" in message


def test_the_test_list_is_scored_if_there_is_one(datalist):
    assert [(s, [i[CASE] for i in v]) for s, v in bundle.items_to_score(datalist).items()] == [
        ("test", ["b"])
    ]


def save(path, array):
    nib.save(nib.Nifti1Image(np.asarray(array, np.uint8), np.eye(4)), path)
    return str(path)


@pytest.fixture
def several(tmp_path, case):
    """A datalist with two modalities, a full case for validation and two with tags for training."""

    def item(name, **changes):
        image = [save(tmp_path / f"{name}_{m}.nii.gz", voxels_of(name + m)) for m in ("t1", "t2")]
        return {**case(name), IMAGE: image, **changes}

    weak = [item(name, supervision="tags", tags=[[0, 1]]) for name in "ab"]
    for each in weak:
        del each[LABEL]
    lists = {"training": weak, "validation": [item("c")], "test": [item("d")]}
    path = tmp_path / "datalist.json"
    return write_datalist(path, name="x", labels={0: "background", 1: "x"}, modalities=["t1", "t2"], **lists)


def sections_of(datalist):
    return {section: bundle.read_items(datalist, section) for section in ("training", "validation")}


@pytest.mark.parametrize("wanted", [["t1", "t2", "flair"], ["t2", "t1"], ["t1"]])
def test_a_training_takes_the_modalities_of_the_network_in_its_order(several, wanted):
    sections = sections_of(several)
    bundle.require_data(several, sections, 2, settings={"modalities": ["t1", "t2"]})
    bundle.require_data(several, sections, 2)
    settings = {"modalities": wanted}
    message = message_of(bundle.require_data, several, sections, 2, settings=settings)
    assert f"{several}: Expected the modalities {', '.join(wanted)} in this order, got t1, t2" in message
    assert "; pass --modalities \"['t1', 't2']\", or prepare anew." in message


def test_other_modalities_need_the_settings_that_speak_of_them(several):
    settings = {"modalities": ["flair"], "weights_of_modalities": [1], "edges": 0}
    message = message_of(bundle.require_data, several, sections_of(several), 2, settings)
    options = "--weights_of_modalities and --edges"
    assert f"--modalities \"['t1', 't2']\", with {options} to match, or prepare anew." in message


def test_where_tags_are_learned_every_item_must_have_them(several):
    message = message_of(
        bundle.require_data, several, sections_of(several), 2, scoring_kinds=["full", "tags"]
    )
    assert "validation[0] (c): Expected tags, one for each slice, got none; add them" in message
    assert "training[" not in message


def test_one_modality_needs_no_name(datalist, case):
    sections = {"training": [case("a")]}
    bundle.require_data(datalist, sections, 2, {"modalities": ["ct"]})
    message = message_of(bundle.require_data, datalist, sections, 2, {"modalities": ["t1", "t2"]})
    assert "Expected the modalities t1, t2 in this order, got one without a name; pass" in message


def test_a_training_stops_where_a_case_lacks_a_modality(several):
    sections = sections_of(several)
    sections["training"][1][IMAGE].pop()
    message = message_of(bundle.require_data, several, sections, 2, {"modalities": ["t1", "t2"]})
    assert "training[1] (b): image" in message and "got 1 without t2" in message


def test_validation_may_be_tagged_where_the_training_allows_it(several):
    sections = sections_of(several)
    sections["validation"] = [sections["training"].pop()]
    allowed = {"scoring_kinds": ("full", "tags")}
    bundle.require_data(several, sections, 2, **allowed)
    message = message_of(bundle.require_data, several, sections, 2)
    assert 'validation[0] (b): Expected supervision "full" in a section that scores, got "tags"' in message


def test_without_a_datalist_there_are_no_items_and_the_data_are_refused(tmp_path):
    path = tmp_path / "none.json"
    assert bundle.read_items(path, "training") == [] and bundle.read_unit(path) == "voxel"
    message = message_of(bundle.require_data, path, {"training": [], "validation": []}, 2)
    assert "\n" not in message and f"Expected a datalist at {path}" in message
