from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.bundle.inputs import find_cases
from monai_ext.images.inputs import header_problems
from monai_ext.images.modalities import (
    files_beside,
    missing_modalities,
    modality_problem,
    split_name,
)

NAMES = ["t1", "t1ce", "flair"]


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), folder / name)
    return folder


def channels(path, number):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, number), np.uint8), np.eye(4)), path)
    return path


def found(place, names=NAMES):
    """Case, modalities and names of the files of each item."""
    items = find_cases(place, names)
    images = [item["image"] for item in items]
    files = [[Path(f).name for f in i] if isinstance(i, list) else Path(i).name for i in images]
    return [(item["case"], item["modalities"], f) for item, f in zip(items, files, strict=True)]


@pytest.mark.parametrize(
    ("file", "parts"),
    [
        ("a/p_1_t1.nii.gz", ("p_1", "t1")),
        ("p-1-t1ce.nii", ("p-1", "t1ce")),
        ("p_FLAIR.nii.gz", ("p", "flair")),
        ("p.2_flair.mha", ("p.2", "flair")),
        ("BraTS-GLI-00000-000-t1n.nii.gz", ("BraTS-GLI-00000-000", "t1")),
        ("BraTS-GLI-00000-000-t1c.nii.gz", ("BraTS-GLI-00000-000", "t1ce")),
        ("BraTS-GLI-00000-000-t2f.nii.gz", ("BraTS-GLI-00000-000", "flair")),
        ("p_T1N.nii", ("p", "t1")),
        ("p-t2w.nii.gz", ("p-t2w", None)),
        ("pt1.nii.gz", ("pt1", None)),
        ("_t1.nii.gz", ("_t1", None)),
        ("t1.nii.gz", ("t1", None)),
        ("t1/p.nii.gz", ("p", None)),
    ],
)
def test_a_name_is_a_case_and_a_modality(file, parts):
    assert split_name(file, NAMES) == parts


def test_the_longer_of_two_endings_counts():
    assert split_name("p_t1_ce.nii", ["ce", "t1_ce"]) == ("p", "t1_ce")


def test_a_modality_of_that_very_name_counts_before_another_name_of_brats():
    assert split_name("p-t1c.nii", ["t1ce", "T1C"]) == ("p", "T1C")
    assert split_name("p-t1n.nii", ["T1"]) == ("p", "T1")


@pytest.mark.parametrize("layout", [".", "case"], ids=["flat", "folders"])
def test_cases_of_brats_are_found_as_they_are_named_from_2023_on(tmp_path, layout):
    case = "BraTS-GLI-00001-000"
    place = tmp_path / layout.replace("case", case)
    touch(place, *(f"{case}-{ending}.nii.gz" for ending in ("seg", "t1c", "t1n", "t2f", "t2w")))
    files = [f"{case}-{ending}.nii.gz" for ending in ("t1n", "t1c", "t2f")]
    assert found(tmp_path) == [(case, NAMES, files)]
    (place / files[1]).unlink()
    assert found(tmp_path) == [(case, ["t1", "flair"], [files[0], files[2]])]


def test_a_folder_of_one_case_gives_its_files_in_the_order_of_the_modalities(tmp_path):
    touch(tmp_path, "p-flair.nii.gz", "p-t1.nii", "p-t1ce.nii.gz", "p-t2.nii.gz", "p-seg.nii.gz")
    assert found(tmp_path) == [("p", NAMES, ["p-t1.nii", "p-t1ce.nii.gz", "p-flair.nii.gz"])]


def test_a_case_that_lacks_a_modality_has_the_others(tmp_path):
    touch(tmp_path, "p_flair.nii.gz", "p_t1.nii.gz", "q_t1ce.nii.gz")
    first, second = find_cases(tmp_path, NAMES)
    assert first["modalities"] == ["t1", "flair"]
    assert first["image"] == [str(tmp_path / "p_t1.nii.gz"), str(tmp_path / "p_flair.nii.gz")]
    assert second == {"image": [str(tmp_path / "q_t1ce.nii.gz")], "case": "q", "modalities": ["t1ce"]}


def test_cases_lie_in_folders_of_their_own(tmp_path):
    for case in ("b", "a"):
        touch(tmp_path / case, f"{case}_t1.nii.gz", f"{case}_flair.nii.gz", f"{case}_SEG.nii.gz")
    (tmp_path / "empty").mkdir()
    expected = [(c, ["t1", "flair"], [f"{c}_t1.nii.gz", f"{c}_flair.nii.gz"]) for c in "ab"]
    assert found(tmp_path) == expected
    touch(tmp_path, "c_t1.nii.gz")  # files of the folder itself come first, and alone
    assert found(tmp_path) == [("c", ["t1"], ["c_t1.nii.gz"])]


def test_a_file_may_hold_all_modalities(tmp_path):
    path = channels(tmp_path / "p.nii.gz", 3)
    expected = [{"image": str(path), "case": "p", "modalities": NAMES}]
    assert find_cases(path, NAMES) == find_cases(tmp_path, NAMES) == expected
    channels(tmp_path / "o.nii", 3)
    touch(tmp_path, "o-seg.nii.gz", "q_t1.nii.gz")
    assert [case for case, *_ in found(tmp_path)] == ["o", "p", "q"]


def test_a_file_of_one_modality_is_a_case(tmp_path):
    touch(tmp_path, "p_t1.nii.gz", "p_flair.nii.gz")
    assert found(tmp_path / "p_flair.nii.gz") == [("p", ["flair"], ["p_flair.nii.gz"])]


def test_the_only_modality_needs_no_ending(tmp_path):
    touch(tmp_path, "p.nii.gz", "q_t1.nii.gz")
    assert found(tmp_path, ["t1"]) == [("p", ["t1"], "p.nii.gz"), ("q", ["t1"], ["q_t1.nii.gz"])]


def test_a_file_that_cannot_be_read_is_left_to_those_who_open_it(tmp_path):
    (tmp_path / "p.nii.gz").write_bytes(b"broken")
    assert found(tmp_path) == [("p", NAMES, "p.nii.gz")]


@pytest.mark.parametrize("layout", [".", "p_1"], ids=["flat", "folders"])
def test_a_file_that_is_of_no_modality_is_refused_alone(tmp_path, layout):
    touch(tmp_path / layout, "p_1_t2.nii.gz")
    touch(tmp_path / layout.replace("1", "2"), "q_t1.nii.gz")
    (first, second) = find_cases(tmp_path, NAMES)
    (message,) = header_problems(first)
    assert (
        "p_1_t2.nii.gz: Expected the name NAME_<modality> with one of t1, t1ce, flair, or a file" in message
    )
    assert header_problems(second) == []


def test_a_file_with_too_few_channels_is_named(tmp_path):
    (item,) = find_cases(channels(tmp_path / "p.nii.gz", 2), NAMES)
    assert "all of these channels, got neither; rename it" in header_problems(item)[0]


def test_what_a_case_has_beside_its_modalities_is_passed_over_with_a_line(tmp_path, caplog):
    caplog.set_level("INFO", "monai_ext")
    touch(tmp_path, "p-t1.nii.gz", "p-t1-voided.nii.gz", "p-mask-healthy.nii.gz", "p-t2.nii.gz")
    assert found(tmp_path) == [("p", ["t1"], ["p-t1.nii.gz"])]
    assert caplog.messages == [
        "passed over 3 files beside t1, t1ce, flair: p-mask-healthy.nii.gz, p-t1-voided.nii.gz, p-t2.nii.gz"
    ]


def test_folders_name_cases_whose_files_are_called_by_their_modality(tmp_path):
    for case in ("p1", "p2"):
        touch(tmp_path / case, "t1.nii.gz", "FLAIR.nii.gz", "seg.nii.gz")
    expected = [(case, ["t1", "flair"], ["t1.nii.gz", "FLAIR.nii.gz"]) for case in ("p1", "p2")]
    assert found(tmp_path) == expected and found(tmp_path / "p1") == expected[:1]


@pytest.mark.parametrize("twin", ["p-t1.nii.gz", "p_t1.nii", "p_T1.nii.gz", "p-t1n.nii.gz"])
def test_two_files_of_one_modality_are_refused(tmp_path, twin):
    touch(tmp_path, "p_t1.nii.gz", twin)
    with pytest.raises(ValueError, match=r"Expected one file of t1 for case p, got .* and .*; rename one"):
        find_cases(tmp_path, NAMES)


def test_cases_of_one_name_in_two_folders_are_called_by_their_folders(tmp_path):
    channels(touch(tmp_path / "a") / "p.nii.gz", 3), channels(touch(tmp_path / "b") / "p.nii", 3)
    touch(tmp_path / "a", "q_t1.nii.gz"), touch(tmp_path / "b", "q_t1.nii.gz", "q_flair.nii.gz")
    assert [(case, there) for case, there, _ in found(tmp_path)] == [
        ("a/p", NAMES),
        ("a/q", ["t1"]),
        ("b/p", NAMES),
        ("b/q", ["t1", "flair"]),
    ]


def test_modalities_of_a_case_may_lie_in_folders_of_their_own(tmp_path):
    touch(tmp_path / "T1", "p_t1.nii.gz"), touch(tmp_path / "FLAIR", "p_flair.nii.gz")
    assert found(tmp_path) == [("p", ["t1", "flair"], ["p_t1.nii.gz", "p_flair.nii.gz"])]


def test_two_cases_of_one_name_in_one_folder_are_refused(tmp_path):
    channels(tmp_path / "p.nii.gz", 3), channels(tmp_path / "p.nii", 3)
    with pytest.raises(ValueError, match=r"Expected one case of each name at .*, got two of p; rename one"):
        find_cases(tmp_path, NAMES)


def test_folders_are_looked_through_at_any_depth_if_asked_for(tmp_path):
    touch(tmp_path / "x" / "ses-1", "p_t1.nii.gz"), touch(tmp_path / "x" / "ses-2", "p_t1.nii.gz")
    with pytest.raises(ValueError, match=r"found none there but some in x/ses-1, x/ses-2; name one"):
        find_cases(tmp_path, NAMES)
    cases = [item["case"] for item in find_cases(tmp_path, NAMES, recursive=True)]
    assert cases == ["x/ses-1/p", "x/ses-2/p"]


def test_says_that_there_is_no_case(tmp_path):
    touch(tmp_path / "empty", "p_seg.nii.gz")
    with pytest.raises(
        ValueError, match=f"of t1, t1ce, flair, or .* at {tmp_path / 'empty'}, found none; set"
    ):
        find_cases(tmp_path / "empty", NAMES)


def test_a_place_that_is_not_there_is_told_when_there_is_something_to_segment(tmp_path):
    found = find_cases(tmp_path / "absent", NAMES)
    assert found == [] and f"at {tmp_path / 'absent'}, got no such file or folder" in str(found.reason)


@pytest.mark.parametrize(("there", "missing"), [(["flair"], ["t1", "t1ce"]), (NAMES, []), (None, [])])
def test_an_item_lacks_the_modalities_that_it_does_not_name(there, missing):
    assert missing_modalities({"modalities": there} if there else {}, NAMES) == missing


def test_files_that_a_case_lacks_may_lie_beside_it(tmp_path):
    touch(tmp_path, "p_t1.nii.gz", "p-t1c.nii.gz", "p_seg.nii.gz", "p_2_flair.nii.gz", "q_flair.nii.gz")
    (tmp_path / "p_flair.txt").touch()
    (alone,) = find_cases(tmp_path / "p_t1.nii.gz", NAMES)
    assert files_beside(alone, NAMES) == [tmp_path / "p-t1c.nii.gz"]
    assert [files_beside(case, NAMES) for case in find_cases(tmp_path, NAMES)] == [[], [], []]


def paths(*names):
    return [Path(f"{name}.nii.gz") for name in names]


def test_one_file_for_each_modality_or_one_for_all_has_no_problem():
    assert modality_problem(paths("p_t1", "p_t1ce", "p_flair"), 3, NAMES) is None
    assert modality_problem(paths("0001", "0002", "p_flair"), 3, NAMES) is None
    assert modality_problem(paths("p-t1n", "p-t1c", "p-t2f"), 3, NAMES) is None
    assert modality_problem(paths("p"), 3, NAMES) is None


@pytest.mark.parametrize(
    ("files", "number", "words"),
    [
        (["p_t1", "p_flair"], 2, "got 2 without t1ce; name one file for each"),
        (["p_t1"], 1, "got 1 without t1ce, flair; "),
        (["p_t1", "p_x"], 2, "got 2; "),
        (["p_t1", "p_t1ce", "p_flair", "p_t1"], 4, "got 4; "),
        (["p_t1", "p_t1ce", "p_flair"], 4, "got 4; "),
    ],
)
def test_a_case_of_other_channels_is_told_what_it_lacks(files, number, words):
    message = modality_problem(paths(*files), number, NAMES)
    listed = ", ".join(f"{file}.nii.gz" for file in files)
    assert message.startswith(f"{listed}: Expected 3 channels (t1, t1ce, flair), ") and words in message


def test_another_order_is_told():
    message = modality_problem(paths("p_t1", "p_flair", "p_t1ce"), 3, NAMES)
    assert "Expected files of t1, t1ce, flair, got another order; name them in this order." in message
