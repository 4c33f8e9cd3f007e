import hashlib
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
from monai_ext.keys import UNLABELED

SHAPE = (6, 5, 4)
LABELS = {0, 1}


def save(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return str(path)


def full_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 1:3, 1:3] = 1
    return mask


def weak_mask():
    mask = np.full(SHAPE, UNLABELED, np.uint8)
    mask[2, 1, 1], mask[0, 0, 0] = 1, 0
    return mask


@pytest.fixture
def data(tmp_path):
    """One full and one partial training case, one validation case, one test case, all in order."""
    rng = np.random.default_rng(0)

    def item(case, supervision="full"):
        image = rng.normal(size=SHAPE).astype(np.float32)
        found = {
            "image": save(tmp_path / f"{case}.nii.gz", image),
            "label": save(
                tmp_path / f"{case}_label.nii.gz", full_mask() if supervision == "full" else weak_mask()
            ),
            "supervision": supervision,
            "case": case,
            "patient": case.split("_")[0],
        }
        if supervision == "partial":
            found["reference"] = save(tmp_path / f"{case}_full.nii.gz", full_mask())
        return found

    return {
        "training": [item("p1_01"), item("p2_01", "partial")],
        "validation": [item("p3_01")],
        "test": [item("p4_01")],
    }


def only_problem(data, **options):
    (message,) = check_items(data, LABELS, **options)
    return message


def test_a_clean_list_has_no_problem(data):
    assert check_items(data, LABELS, references=True) == []
    require_valid(data, LABELS)


def truncate(path):
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) * 2 // 3])


def cut_the_checksum(path):
    Path(path).write_bytes(Path(path).read_bytes()[:-4])


def overwrite(path):
    Path(path).write_bytes(b"this is no image at all" * 40)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: Path(path).unlink(), "Expected a file, got nothing"),
        (truncate, "complete, readable image, got EOFError"),
        (cut_the_checksum, "complete, readable image, got EOFError"),
        (overwrite, "complete, readable image, got BadGzipFile"),
    ],
)
@pytest.mark.parametrize("role", ["image", "label", "reference"])
def test_a_file_that_cannot_be_read_is_named(data, damage, words, role):
    path = data["training"][1][role]
    damage(path)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): {role} {path}: Expected") and words in message


def test_a_reference_is_opened_only_on_demand(data):
    truncate(data["training"][1]["reference"])
    assert check_items(data, LABELS) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_located(data, value):
    image = np.random.default_rng(0).normal(size=SHAPE)
    image[1, 2, 3] = image[4, 0, 0] = value
    path = save(data["training"][0]["image"], image)
    message = only_problem(data)
    assert message.startswith(f"training[0] (p1_01): image {path}: ")
    assert "2 voxels, first at (1, 2, 3)" in message


def test_an_image_of_one_intensity_is_a_problem(data):
    save(data["test"][0]["image"], np.full(SHAPE, 7, np.int16))
    assert "test[0] (p4_01): image" in (message := only_problem(data)) and "constant intensity 7" in message


@pytest.mark.parametrize("role", ["label", "reference"])
def test_a_shape_that_differs_from_the_image_is_told(data, role):
    path = save(data["training"][1][role], full_mask()[:, :, :3])
    message = only_problem(data, references=True)
    assert (
        f"training[1] (p2_01): {role} {path}: Expected shape (6, 5, 4)" in message and "(6, 5, 3)" in message
    )


@pytest.mark.parametrize(
    ("row", "column", "by", "words"),
    [(0, 3, 5.0, "origin by 5 "), (1, 1, 0.25, "spacing or axes by 0.25 ")],
)
def test_an_affine_that_differs_from_the_image_is_told(data, row, column, by, words):
    affine = np.eye(4)
    affine[row, column] += by
    path = save(data["validation"][0]["label"], full_mask(), affine)
    message = only_problem(data)
    assert message.startswith(f"validation[0] (p3_01): label {path}: ") and words in message


def test_an_affine_within_the_tolerance_passes(data):
    save(data["validation"][0]["label"], full_mask(), np.eye(4) + 5e-4 * np.eye(4, k=1))
    assert check_items(data, LABELS) == []


def test_modalities_must_lie_on_each_other(data, tmp_path):
    second = save(tmp_path / "t2.nii", np.random.default_rng(1).normal(size=(6, 5, 3)))
    first = data["training"][0]["image"]
    data["training"][0]["image"] = [first, second]
    message = only_problem(data)
    assert message.startswith(f"training[0] (p1_01): image {first}, {second}: Expected one shape for all")
    assert "got p1_01.nii.gz (6, 5, 4), t2.nii (6, 5, 3);" in message


def test_channels_of_one_file_are_checked_one_by_one(data):
    image = np.random.default_rng(1).normal(size=(*SHAPE, 2))
    save(data["training"][0]["image"], image)
    assert check_items(data, LABELS) == []
    image[..., 1] = 3
    save(data["training"][0]["image"], image)
    assert "constant intensity 3 of channel 1" in only_problem(data)


def test_an_illegal_label_value_is_counted_and_located(data):
    mask = full_mask()
    mask[5, 4, 3] = 4
    path = save(data["training"][0]["label"], mask)
    message = only_problem(data)
    assert message.startswith(
        f"training[0] (p1_01): label {path}: Expected values among [0, 1], got 4 in 1 voxel,"
    )
    assert "first at (5, 4, 3)" in message


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_a_label_value_that_is_no_integer_is_a_problem(data, value):
    mask = full_mask().astype(np.float32)
    mask[0, 0, 1] = value
    save(data["training"][0]["label"], mask)
    message = only_problem(data)
    assert f"Expected integer class indices, got {value:g}" in message and "(0, 0, 1)" in message


def test_a_full_label_with_unlabeled_voxels_should_be_marked_partial(data):
    save(data["training"][0]["label"], weak_mask())
    message = only_problem(data)
    assert (
        "training[0] (p1_01): label" in message
        and "got 255" in message
        and 'mark the item "partial"' in message
    )


def test_an_empty_training_list_is_a_problem(data):
    assert only_problem({**data, "training": []}).startswith("training: Expected at least one item")


def test_a_training_list_without_a_labeled_voxel_is_a_problem(data):
    save(data["training"][1]["label"], np.full(SHAPE, UNLABELED, np.uint8))
    message = only_problem({**data, "training": data["training"][1:]})
    assert message.startswith("training: Expected a labeled voxel") and "training[0] (p2_01)" in message


def test_a_training_list_of_background_is_a_problem(data):
    save(data["training"][0]["label"], np.zeros(SHAPE, np.uint8))
    message = only_problem({**data, "training": data["training"][:1]})
    assert message.startswith("training: Expected a voxel of the foreground (label 1)")


def test_unlabeled_images_alone_are_a_problem_only_where_labels_are_needed(data):
    image = {key: data["training"][0][key] for key in ("image", "case", "patient")}
    data["training"] = [{**image, "supervision": "none"}]
    assert check_items(data, LABELS) == []
    assert only_problem(data, need_labels=True).startswith("training: Expected an item with a label, got 1")


def test_a_patient_in_two_sections_is_named_with_both_entries(data):
    data["validation"][0]["patient"] = "p1"
    message = only_problem(data)
    assert message.startswith("validation[0] (p3_01): Expected patient p1 in one section only")
    assert "training[0] (p1_01)" in message


def contradict(data):
    mask = weak_mask()
    mask[5, 4, 2:] = 1
    return save(data["training"][1]["label"], mask)


def test_a_weak_label_that_contradicts_its_reference_is_a_problem(data):
    path = contradict(data)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): label {path}: ")
    assert "2 voxels, first at (5, 4, 2): 1 instead of 0" in message
    assert check_items(data, LABELS) == []


def test_a_weak_label_that_contradicts_a_full_one_of_the_same_image_is_a_problem(data):
    contradict(data)
    weak = data["training"][1]
    data["training"].append({**weak, "label": weak["reference"], "supervision": "full"})
    assert "training[1] (p2_01): label" in (message := only_problem(data)) and weak["reference"] in message


def test_items_with_nothing_but_image_and_label_are_full_cases(data):
    bare = {name: [{k: i[k] for k in ("image", "label")} for i in found[:1]] for name, found in data.items()}
    assert check_items(bare, LABELS) == []


def test_problems_come_in_the_order_of_the_list_every_time(data):
    for items in data.values():
        for item in items:
            truncate(item["label"])
            save(item["image"], np.zeros(SHAPE))
    runs = [check_items(data, LABELS) for _ in range(5)]
    names = [message.split(" ")[0] for message in runs[0]]
    assert names == [n for n in ("training[0]", "training[1]", "validation[0]", "test[0]") for _ in range(2)]
    assert all(run == runs[0] for run in runs)


def test_each_file_is_read_once(data, monkeypatch):
    from monai_ext.datalist import check_files

    opened = []
    read = check_files.read_volume
    monkeypatch.setattr(check_files, "read_volume", lambda path: opened.append(str(path)) or read(path))
    data["training"].append({**data["training"][0], "label": data["training"][1]["reference"]})
    check_items(data, LABELS)
    assert len(opened) == len(set(opened)) == 9


def written(data, path, **more):
    """Writes the lists as a datalist with relative paths."""
    lists = {
        name: [{k: v if k == "tags" else Path(v).name for k, v in i.items()} for i in found]
        for name, found in data.items()
    }
    path.write_text(json.dumps({"labels": {"0": "background", "1": "cavity"}, **lists, **more}))
    return path


def test_a_datalist_file_is_checked_with_its_references(data, tmp_path):
    contradict(data)
    path = written(data, tmp_path / "datalist.json")
    assert check_datalist(path) == []
    (message,) = check_datalist(path, references=True)
    assert message.startswith(f"training[1] (p2_01): label {data['training'][1]['label']}: ")
    assert check_datalist(path, references=True, sections=["test"]) == []


def test_training_on_a_datalist_file_needs_labels(data, tmp_path):
    image = {"image": Path(data["training"][0]["image"]).name, "supervision": "none"}
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"labels": {"0": "background"}, "training": [image]}))
    assert check_datalist(path) == []
    with pytest.raises(DataError, match="Expected an item with a label"):
        require_valid(path)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"training": []}'])
def test_a_datalist_that_cannot_be_read_is_one_problem(tmp_path, text):
    path = tmp_path / "datalist.json"
    if text is not None:
        path.write_text(text)
    (message,) = check_datalist(path)
    assert str(path) in message


def test_training_stops_with_the_first_twenty_problems(data):
    data["training"] *= 12
    for item in data["training"]:
        item["supervision"] = "weak"
    with pytest.raises(DataError) as caught:
        require_valid(data, LABELS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21 and lines[-1] == "... and 4 more"


def test_items_need_labels_to_be_checked_against(data):
    with pytest.raises(ValueError, match="Expected labels with a mapping of items, got None"):
        require_valid(data)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture
def digested(data):
    """The same items with the digests of their labels."""
    for item in (item for found in data.values() for item in found):
        item["label_sha256"] = sha256(item["label"])
    return data


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


def other_digest(data):
    data["validation"][0]["label_sha256"] = "0" * 63


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


@pytest.fixture
def noisy(data):
    """The item of the weak case, whose labels are wrong here and there."""
    data["training"][1]["supervision"] = "noisy"
    return data["training"][1]


def test_a_noisy_label_may_contradict_its_reference_and_leave_voxels_out(data, noisy):
    contradict(data)
    assert UNLABELED in np.asanyarray(nib.load(noisy["label"]).dataobj)
    assert check_items(data, LABELS, references=True) == []


def test_a_noisy_label_is_no_truth_for_a_weak_one_of_the_same_image(data, noisy):
    data["training"].append({**noisy, "supervision": "partial", "label": save_as(noisy, weak_mask())})
    contradict(data)
    assert check_items(data, LABELS, references=True) == []
    save_as(noisy, 1 - full_mask())
    assert only_problem(data, references=True).startswith("training[2] (p2_01): label")


def save_as(item, mask):
    return save(Path(item["label"]).with_name("second.nii.gz"), mask)


@pytest.mark.parametrize("role", ["label", "reference"])
@pytest.mark.parametrize(
    ("mask", "affine", "words"),
    [
        (3 * full_mask(), None, "Expected values among [0, 1], got 3"),
        (full_mask()[:-1], None, "Expected shape (6, 5, 4)"),
        (full_mask(), 2 * np.eye(4), "Expected the affine of"),
    ],
)
def test_the_files_of_a_noisy_item_are_checked_themselves(data, noisy, role, mask, affine, words):
    path = save(noisy[role], mask, affine)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): {role} {path}: {words}")


def test_the_reference_of_a_noisy_item_must_say_the_class_of_every_voxel(data, noisy):
    save(noisy["reference"], weak_mask())
    assert "reference" in (message := only_problem(data, references=True)) and "got 255" in message


def modalities(data, *names):
    """Each item with a file of every modality instead of the one it had."""
    rng = np.random.default_rng(2)
    for item in (item for found in data.values() for item in found):
        path = Path(item["image"])
        files = [path.with_name(f"{item['case']}_{name}.nii.gz") for name in names]
        item["image"] = [save(file, rng.normal(size=SHAPE)) for file in files]
    return data


def test_cases_with_every_modality_have_no_problem(data):
    named = modalities(data, "t1", "flair")
    named["test"][0]["image"] = save(
        Path(named["test"][0]["image"][0]).with_name("all.nii"),
        np.random.default_rng(3).normal(size=(*SHAPE, 2)),
    )
    assert check_items(named, LABELS, modalities=["t1", "flair"]) == []


def test_a_case_that_lacks_a_modality_is_named_with_what_it_has(data):
    lost = modalities(data, "t1", "flair")["training"][1]["image"].pop()
    Path(lost).unlink()
    message = only_problem(data, modalities=["t1", "flair"])
    assert message.startswith(f"training[1] (p2_01): image {data['training'][1]['image'][0]}: Expected 2 ")
    assert "got 1 without flair" in message
    require_valid({"training": data["training"][:1]}, LABELS, modalities=["t1", "flair"])
    with pytest.raises(DataError, match="without flair"):
        require_valid(data, LABELS, modalities=["t1", "flair"])


def test_modalities_that_lie_apart_are_both_named(data):
    first, second = modalities(data, "t1", "flair")["training"][0]["image"]
    save(second, np.random.default_rng(1).normal(size=SHAPE), np.diag([1, 1, 2, 1]))
    message = only_problem(data, modalities=["t1", "flair"])
    assert message.startswith(f"training[0] (p1_01): image {first}, {second}: Expected one affine for all")
    assert "another in flair (spacing or axes by 1) than in t1 (tolerance 0.001);" in message


TAGS = [[0, 1, 1, 0]]
"""Of `full_mask`."""


@pytest.fixture
def tagged(data):
    """The same cases; the weak one and that for validation have tags, and no label."""
    for section in ("training", "validation"):
        item = data[section][-1]
        item |= {"reference": item.pop("label"), "supervision": "tags", "tags": TAGS}
    save(data["training"][1]["reference"], full_mask())
    return data


def test_tags_that_agree_with_the_reference_have_no_problem(tagged):
    assert check_items(tagged, LABELS, references=True, scoring_kinds=("full", "tags")) == []
    assert 'Expected supervision "full"' in (message := only_problem(tagged)) and "validation" in message


def test_tags_that_contradict_the_reference_are_counted_once_a_case(tagged):
    tagged["training"][1]["tags"] = [[1, 1, 0, 0]]
    item = tagged["training"][1]
    options = {"references": True, "scoring_kinds": ("full", "tags")}
    message = only_problem(tagged, **options)
    assert message.startswith(f"training[1] (p2_01): tags for {item['image']}: Expected tags that agree with")
    assert f"{item['reference']}, got 2 that do not, first 1 of class 1 in slice 0 (from 0)" in message
    assert check_items(tagged, LABELS, scoring_kinds=("full", "tags")) == []


def test_tags_of_a_full_case_are_compared_with_its_label(data):
    data["validation"][0]["tags"] = [[0, 1, 0, 0]]
    message = only_problem(data)
    assert message.startswith("validation[0] (p3_01): tags for ") and "0 of class 1 in slice 2" in message


def test_tags_of_a_noisy_case_may_contradict(data, noisy):
    noisy["tags"] = [[1, 1, 1, 1]]
    assert check_items(data, LABELS, references=True) == []


def test_a_wrong_number_of_tags_is_told_without_a_reference(tagged):
    tagged["training"][1]["tags"] = [[0, 1, 1, 0, 0]]
    for references in (False, True):
        options = {"references": references, "scoring_kinds": ("full", "tags")}
        message = only_problem(tagged, **options)
        assert message.startswith(
            f"training[1] (p2_01): tags for {tagged['training'][1]['image']}: Expected 4"
        )
        assert "tags of class 1, one for each slice along the last axis, got 5;" in message


@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize(
    ("depth", "affine", "words"),
    [
        (3, None, "Expected shape (6, 5, 4) as in the"),
        (4, np.diag([1, 1, 2, 1]), "Expected the affine of the"),
    ],
)
def test_one_bad_modality_is_one_problem_whatever_else_the_case_has(tagged, odd, depth, affine, words):
    names = ["t1", "flair", "t1ce"]
    item = modalities(tagged, *names)["training"][1]
    item["label"] = item["reference"]
    path = save(item["image"][odd], np.random.default_rng(1).normal(size=(6, 5, depth)), affine)
    options = {"references": True, "scoring_kinds": ("full", "tags")}
    message = only_problem(tagged, modalities=names, **options)
    assert message.startswith(f"training[1] (p2_01): image {path}: {words} other modalities, got ")


def test_a_label_is_compared_with_most_modalities_and_not_with_the_odd_first_one(data):
    item = modalities(data, "t1", "flair", "t1ce")["training"][0]
    for path in (item["image"][0], item["label"]):
        save(path, np.random.default_rng(1).integers(0, 2, (6, 5, 3), np.uint8))
    image, label = check_items(data, LABELS)
    assert f"image {item['image'][0]}: Expected shape (6, 5, 4) as in the other modalities" in image
    assert f"label {item['label']}: Expected shape (6, 5, 4) as in {item['image'][1]}, got" in label


def test_where_modalities_disagree_nothing_else_is_compared_with_them(tagged):
    item = modalities(tagged, "t1", "flair")["training"][1]
    item["tags"] = [[0, 1, 1]]
    save(item["reference"], full_mask()[..., :3])
    save(item["image"][0], np.random.default_rng(1).normal(size=(6, 5, 2)))
    message = only_problem(tagged, references=True, scoring_kinds=("full", "tags"))
    assert "Expected one shape for all modalities, got" in message


def test_a_validation_list_may_be_tagged_if_the_training_list_is(tagged, tmp_path):
    path = written(tagged, tmp_path / "datalist.json")
    assert check_datalist(path, references=True) == []
    assert check_datalist(path, sections=["validation"]) == []
    tagged["training"][1] |= {"supervision": "none"}
    assert 'got "tags"' in check_datalist(written(tagged, path))[0]


def test_a_test_list_may_not_be_tagged(tagged):
    tagged["test"][0] |= {"supervision": "tags", "tags": TAGS}
    message = only_problem(tagged, scoring_kinds=("full", "tags"))
    assert message.startswith('test[0] (p4_01): Expected supervision "full"')


def test_a_datalist_file_brings_its_modalities(data, tmp_path):
    path = written(data, tmp_path / "datalist.json", modalities=["t1", "flair"])
    found = check_datalist(path)
    assert len(found) == 4 and all("Expected 2 channels (t1, flair), got 1" in message for message in found)


def test_a_training_list_of_equal_tags_is_a_problem(tagged):
    item = tagged["training"][1] | {"tags": [[1, 1, 1, 1]]}
    message = only_problem({"training": [item, {**item, "supervision": "none"}]})
    assert message.startswith("training: Expected slices with and without class 1, got the tag 1 in every")
    full = tagged["training"][0]
    assert check_items({"training": [item, full]}, LABELS) == []
