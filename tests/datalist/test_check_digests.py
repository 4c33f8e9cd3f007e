import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import (
    DataError,
    accept_label_changes,
    check_datalist,
    check_items,
    require_valid,
)
from monai_ext.datalist.datalist import write_datalist
from tests.datalist.lists import (
    LABELS,
    SHAPE,
    contradict,
    full_mask,
    only_problem,
    save,
    sha256,
    truncate,
    written,
)


def other_digest(data):
    data["validation"][0]["label_sha256"] = "0" * 63


def test_labels_with_their_digests_have_no_problem(digested):
    digested["training"][0]["label_sha256"] = digested["training"][0]["label_sha256"].upper()
    assert check_items(digested, LABELS, references=True) == []


@pytest.mark.parametrize(("section", "number"), [("training", 0), ("training", 1), ("validation", 0)])
def test_a_label_that_was_changed_is_named_with_both_digests(digested, section, number):
    item = digested[section][number]
    before, voxels = sha256(item["label"]), np.asanyarray(nib.load(item["label"]).dataobj).copy()
    voxels[2, 1, 1] = 0
    path = save(item["label"], voxels)
    message = only_problem(digested)
    assert message.startswith(f"{section}[{number}] ({item['case']}): label {path}: Expected the file that")
    assert f"(sha256 {before[:8]}...), got another ({sha256(path)[:8]}...); if the change is meant" in message
    assert message.endswith("run: python -m monai_ext check DATALIST --accept-changes")


def test_voxels_beside_a_header_count_for_its_digest(tmp_path):
    label = tmp_path / "label.mhd"
    label.write_text("ElementDataFile = label.raw\n")
    (tmp_path / "label.raw").write_bytes(b"1")
    item = {"image": "i.nii", "label": str(label)}
    digests = []
    for voxels in (b"1", b"2"):
        (tmp_path / "label.raw").write_bytes(voxels)
        write_datalist(tmp_path / "d.json", name="a", labels={0: "background", 1: "a"}, training=[item])
        (found,) = json.loads((tmp_path / "d.json").read_text())["training"]
        digests.append(found["label_sha256"])
    assert digests[0] != digests[1] != sha256(label)


def test_a_changed_label_that_contradicts_is_found_without_its_reference(digested):
    contradict(digested)
    Path(digested["training"][1]["reference"]).unlink()
    assert "training[1] (p2_01): label" in (message := only_problem(digested)) and "sha256" in message
    with pytest.raises(DataError, match=r"training\[1\] .*got another"):
        require_valid(digested, LABELS)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (truncate, "complete, readable image"),
        (lambda path: save(path, full_mask()[:-1]), "Expected shape"),
        (lambda path: save(path, 4 * full_mask()), "Expected values among"),
    ],
)
def test_a_changed_label_with_another_problem_has_no_second_message(digested, spoil, words):
    spoil(digested["training"][0]["label"])
    assert words in only_problem(digested)


def test_accepted_changes_are_no_problem_any_more(digested, tmp_path):
    path = written(digested, tmp_path / "datalist.json")
    for item in (digested["training"][0], digested["test"][0]):
        save(item["label"], 1 - full_mask())
    assert len(check_datalist(path, references=True)) == 2
    assert accept_label_changes(path) == ([], 2)
    assert check_datalist(path, references=True) == []


def test_accepting_changes_nothing_but_the_digests_that_were_there(digested, tmp_path):
    path = written(digested, tmp_path / "datalist.json", license="CC BY")
    content = json.loads(path.read_text())
    del content["validation"][0]["label_sha256"]
    content["training"].append(Path(save(tmp_path / "p5.nii.gz", np.arange(120.0).reshape(SHAPE))).name)
    path.write_text(json.dumps(content))
    for section in ("training", "validation"):
        save(digested[section][0]["label"], 1 - full_mask())
    assert accept_label_changes(path) == ([], 1)
    content["training"][0]["label_sha256"] = sha256(digested["training"][0]["label"])
    assert json.loads(path.read_text()) == content and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (contradict, "contradiction in 2 voxels"),
        (lambda data: truncate(data["training"][1]["reference"]), "reference"),
        (lambda data: Path(data["training"][1]["label"]).unlink(), "Expected a file, got nothing"),
        (other_digest, "64 hexadecimal digits"),
    ],
)
def test_nothing_is_accepted_while_anything_else_is_wrong(digested, tmp_path, spoil, words):
    save(digested["test"][0]["label"], 1 - full_mask())
    spoil(digested)
    path = written(digested, tmp_path / "datalist.json")
    before = path.read_text()
    (message,), count = accept_label_changes(path)
    assert words in message and count == 0
    assert path.read_text() == before and not list(tmp_path.glob(".*"))


def test_a_datalist_without_changes_is_not_written(digested, tmp_path):
    path = written(digested, tmp_path / "datalist.json")
    before = path.stat()
    assert accept_label_changes(path) == ([], 0)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_changes_are_accepted_only_in_the_sections_that_are_checked(digested, tmp_path):
    path = written(digested, tmp_path / "datalist.json")
    for section in ("validation", "test"):
        save(digested[section][0]["label"], 1 - full_mask())
    assert accept_label_changes(path, ["test"]) == ([], 1)
    (message,) = check_datalist(path)
    assert message.startswith("validation[0] (p3_01): label")


@pytest.mark.parametrize("sections", [None, ["tset"]])
def test_what_cannot_be_read_has_nothing_to_accept(tmp_path, sections):
    path = tmp_path / "datalist.json"
    path.write_text("{" if sections is None else '{"labels": {"0": "background"}, "training": []}')
    (message,), count = accept_label_changes(path, sections)
    assert str(path) in message and count == 0
