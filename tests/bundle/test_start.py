import json
import re
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from monai.transforms import LoadImage

from monai_ext import bundle
from monai_ext.datalist import write_datalist
from monai_ext.keys import CASE, IMAGE, LABEL
from tests.exit_messages import message_of


@pytest.fixture
def metadata(tmp_path):
    def write(monai="1.0", torch_version="2.0", **others):
        path = tmp_path / "metadata.json"
        content = {"monai_version": monai, "pytorch_version": torch_version}
        path.write_text(json.dumps(content | {"required_packages_version": others}))
        return path

    return write


@pytest.fixture
def case(tmp_path):
    """A case with an image and a label of two classes, as a function of the label's largest value."""

    def write(name="a", highest=1):
        label = np.zeros((4, 4, 2), np.uint8)
        label[1:3, 1:3] = highest
        for key, array in ((IMAGE, np.arange(32).reshape(4, 4, 2)), (LABEL, label)):
            nib.save(nib.Nifti1Image(array.astype(np.uint8), np.eye(4)), tmp_path / f"{name}_{key}.nii.gz")
        return {key: str(tmp_path / f"{name}_{key}.nii.gz") for key in (IMAGE, LABEL)} | {CASE: name}

    return write


def complaint(function, *args):
    """What it has against its arguments; empty if it accepts them."""
    try:
        function(*args)
    except (RuntimeError, SystemExit) as error:
        return str(error)
    return ""


def test_installed_packages_satisfy(metadata):
    assert complaint(bundle.require_packages, metadata(monai="1.5", numpy="1.20", nibabel="3")) == ""


def test_a_local_version_satisfies(metadata, monkeypatch):
    monkeypatch.setattr("monai_ext.bundle.start.version", lambda name: "2.10.0+cpu")
    assert complaint(bundle.require_packages, metadata(monai="2.9.1", torch_version="2.10.0")) == ""
    newer = metadata(monai="2.9.1", torch_version="2.10.1")
    assert "expected torch >= 2.10.1, got 2.10.0+cpu" in complaint(bundle.require_packages, newer)


def test_says_what_is_too_old_or_missing_and_what_to_install(metadata):
    path = metadata(monai="99.1", nibabel="3", **{"no-such-package": "2.5"})
    with pytest.raises(RuntimeError) as caught:
        bundle.require_packages(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(r"expected monai >= 99\.1, got 1\.\d", message)
    assert "expected no-such-package >= 2.5, got none" in message
    assert message.endswith("pip install 'monai>=99.1' 'no-such-package>=2.5'")
    assert "torch" not in message and "nibabel" not in message


def test_other_packages_may_be_left_out(tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text('{"monai_version": "1.0", "pytorch_version": "99.0"}')
    with pytest.raises(RuntimeError, match=r"expected torch >= 99\.0, got 2"):
        bundle.require_packages(path)


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


def test_a_missing_datalist_ends_the_program_with_one_line(tmp_path):
    message = message_of(bundle.read_items, tmp_path / "none.json", "training")
    assert "\n" not in message and f"Expected a datalist at {tmp_path / 'none.json'}" in message


def test_a_broken_datalist_ends_the_program_with_one_line(tmp_path):
    path = tmp_path / "datalist.json"
    path.write_text("{")
    message = message_of(bundle.read_items, path, "training")
    assert "\n" not in message and f"{path}: Expected JSON" in message


def test_valid_data_pass(case):
    sections = {"training": [case("a")], "validation": [case("b")]}
    assert complaint(bundle.stop_if_invalid, "none.json", sections, 2) == ""


def test_invalid_data_end_the_program_and_every_problem_is_named(case):
    bad = case("bad", highest=3)
    missing = {IMAGE: "/nowhere/image.nii.gz", "supervision": "none"}
    message = message_of(bundle.stop_if_invalid, "none.json", {"training": [case("a"), bad, missing]}, 2)
    assert "training[1] (bad)" in message and "training[2]" in message and "training[0]" not in message
    assert message.endswith("The data cannot be used as it is; nothing was trained or written.")


def test_preparing_seeds_and_checks(metadata, case):
    numbers = []
    for seed in (3, 3, 4):
        bundle.prepare_training(metadata(), "", {"training": [case()]}, num_classes=2, seed=seed)
        numbers.append(torch.rand(1).item())
    assert numbers[0] == numbers[1] != numbers[2]
    with pytest.raises(RuntimeError, match=r"monai >= 99"):
        bundle.prepare_training(metadata(monai="99"), "", {"training": [case()]}, num_classes=2)
    message_of(bundle.prepare_training, metadata(), "", {"training": [case(highest=2)]}, num_classes=2)


def test_of_all_warnings_those_inside_monai_are_hidden():
    onehot = torch.eye(2).reshape(1, 1, 2, 2)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        bundle.ignore_warnings_inside_monai()
        LoadImage()
        compute_hausdorff_distance(onehot, onehot, include_background=True)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["something else"]


def test_settings_are_looked_at_before_data_and_weights(metadata):
    message = message_of(bundle.prepare_training, metadata(), "", {}, 2, settings={"threshold": 1.5})
    assert message == "Expected 0 < threshold <= 1, got 1.5; pass --threshold."
    network = torch.nn.Linear(2, 1)
    assert message == message_of(bundle.prepare_inference, metadata(), "none.pt", network, {"threshold": 1.5})


@pytest.fixture
def datalist(tmp_path, case):
    path = tmp_path / "datalist.json"
    lists = {"training": [case("a")], "test": [case("b")]}
    write_datalist(path, name="x", labels={0: "background", 1: "heart"}, **lists)
    return path


def test_says_that_the_datalist_has_other_classes(datalist, case):
    message = message_of(bundle.stop_if_invalid, datalist, {"training": [case("a")]}, 4)
    assert f"{datalist}: Expected 4 classes, as num_classes says, got 2: background, heart" in message


def test_a_test_patient_may_not_be_trained_on(datalist, case):
    bundle.stop_if_invalid(datalist, {"training": [case("a")]}, 2)
    message = message_of(bundle.stop_if_invalid, datalist, {"training": [case("b")]}, 2)
    assert "training[0] (b)" in message and "test[0] (b)" in message


def test_the_test_list_is_scored_if_there_is_one(datalist):
    assert [(s, [i[CASE] for i in v]) for s, v in bundle.items_to_score(datalist).items()] == [
        ("test", ["b"])
    ]


def test_our_own_package_is_never_looked_for_on_a_registry(metadata):
    with pytest.raises(RuntimeError, match=r"pip install -e \. in a clone") as caught:
        bundle.require_packages(metadata(**{"monai-ext": "99"}))
    assert "'monai-ext" not in str(caught.value)


@pytest.mark.parametrize(("gpus", "device"), [(False, "cpu"), (True, "cuda:3")])
def test_a_process_has_the_gpu_of_its_rank(monkeypatch, gpus, device):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    assert bundle.local_device() == torch.device(device)


def save(path, array):
    nib.save(nib.Nifti1Image(np.asarray(array, np.uint8), np.eye(4)), path)
    return str(path)


@pytest.fixture
def several(tmp_path, case):
    """A datalist with two modalities, a full case for validation and two with tags for training."""

    def item(name, **changes):
        image = [save(tmp_path / f"{name}_{m}.nii.gz", np.arange(32).reshape(4, 4, 2)) for m in ("t1", "t2")]
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
def test_a_training_takes_the_modalities_of_the_network_in_its_order(metadata, several, wanted):
    sections = sections_of(several)
    bundle.prepare_training(metadata(), several, sections, 2, settings={"modalities": ["t1", "t2"]})
    bundle.prepare_training(metadata(), several, sections, 2)
    settings = {"modalities": wanted}
    message = message_of(bundle.prepare_training, metadata(), several, sections, 2, settings=settings)
    assert f"{several}: Expected the modalities {', '.join(wanted)} in this order, got t1, t2" in message
    assert "; pass --modalities \"['t1', 't2']\", or prepare anew." in message


def test_other_modalities_need_the_settings_that_speak_of_them(several):
    settings = {"modalities": ["flair"], "weights_of_modalities": [1], "edges": 0}
    message = message_of(bundle.stop_if_invalid, several, sections_of(several), 2, settings)
    options = "--weights_of_modalities and --edges"
    assert f"--modalities \"['t1', 't2']\", with {options} to match, or prepare anew." in message


def test_where_tags_are_learned_every_item_must_have_them(metadata, several):
    message = message_of(
        bundle.prepare_training, metadata(), several, sections_of(several), 2, scoring_kinds=["full", "tags"]
    )
    assert "validation[0] (c): Expected tags, one for each slice, got none; add them" in message
    assert "training[" not in message


def test_one_modality_needs_no_name(datalist, case):
    sections = {"training": [case("a")]}
    bundle.stop_if_invalid(datalist, sections, 2, {"modalities": ["ct"]})
    message = message_of(bundle.stop_if_invalid, datalist, sections, 2, {"modalities": ["t1", "t2"]})
    assert "Expected the modalities t1, t2 in this order, got one without a name; pass" in message


def test_a_training_stops_where_a_case_lacks_a_modality(several):
    sections = sections_of(several)
    sections["training"][1][IMAGE].pop()
    message = message_of(bundle.stop_if_invalid, several, sections, 2, {"modalities": ["t1", "t2"]})
    assert "training[1] (b): image" in message and "got 1 without t2" in message


def test_validation_may_be_tagged_where_the_training_allows_it(metadata, several):
    sections = sections_of(several)
    sections["validation"] = [sections["training"].pop()]
    allowed = {"scoring_kinds": ("full", "tags")}
    bundle.prepare_training(metadata(), several, sections, 2, **allowed)
    message = message_of(bundle.prepare_training, metadata(), several, sections, 2)
    assert 'validation[0] (b): Expected supervision "full" in a section that scores, got "tags"' in message
