import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.bundle.inputs import find_cases
from monai_ext.errors import InputError
from monai_ext.images.inputs import (
    find_images,
    header_problems,
    incomplete_problem,
    voxel_problems,
    warn_of_missing,
)
from monai_ext.keys import CASE, IMAGE, MODALITIES

NAMES = ["t1", "flair", "t1ce"]


def save(path, shape=(4, 5, 2), affine=None):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return str(path)


def cases_of(items):
    return [item[CASE] for item in items]


@pytest.fixture
def cases(tmp_path):
    """Cases of these modalities, each in a folder of its own."""

    def make(**modalities_of):
        for case, modalities in modalities_of.items():
            for modality in modalities.split():
                save(tmp_path / case / f"{case}_{modality}.nii.gz")
        return find_cases(tmp_path, NAMES)

    return make


def test_images_are_found_in_a_folder_or_named(tmp_path):
    save(tmp_path / "b.nii"), save(tmp_path / "a.nii.gz")
    (tmp_path / "notes.txt").touch()
    found = find_images(tmp_path)
    assert [(item[CASE], Path(item[IMAGE]).name) for item in found] == [("a", "a.nii.gz"), ("b", "b.nii")]
    assert find_images(found[0][IMAGE]) == found[:1]


@pytest.mark.parametrize(
    "name", ["John scan 1", "1.2.840.113619", "@home", "100% $x", "M\u00fcller", "x" * 240]
)
def test_any_name_does(tmp_path, name):
    save(tmp_path / f"{name}.nii.gz")
    assert cases_of(find_images(tmp_path)) == [name]


def test_two_files_that_would_be_saved_under_one_name_are_refused(tmp_path):
    save(tmp_path / "a.nii"), save(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"one file for each name in .*, found several of a that differ in"):
        find_images(tmp_path)


@pytest.mark.parametrize(("name", "got"), [("empty", "found none"), ("absent", "got no such file or folder")])
def test_says_that_there_is_no_image(tmp_path, name, got):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as caught:
        find_images(tmp_path / name)
    place = tmp_path / name
    assert str(caught.value) == f"Expected an image or a folder of images at {place}, {got}; set --input."


def test_equal_names_in_folders_are_cases_called_by_them(tmp_path):
    for patient in ("p1", "p2"):
        save(tmp_path / patient / "imaging.nii.gz")
    with pytest.raises(InputError, match="found none there but some in p1, p2"):
        find_images(tmp_path)
    assert cases_of(find_images(tmp_path, recursive=True)) == ["p1/imaging", "p2/imaging"]


def test_label_maps_are_passed_over_with_a_line_that_names_them(tmp_path, caplog):
    for name in ("p", "p_gt", "q", "q_seg"):
        save(tmp_path / f"{name}.nii.gz")
    assert cases_of(find_images(tmp_path)) == ["p", "q"]
    assert caplog.messages == ["passed over 2 label maps: p_gt.nii.gz, q_seg.nii.gz"]


def test_files_of_other_formats_are_passed_over_with_a_line_that_names_them(tmp_path, caplog):
    save(tmp_path / "p.nii.gz")
    (tmp_path / "view.png").touch(), (tmp_path / "slice.dcm").touch()
    assert cases_of(find_images(tmp_path)) == ["p"]
    assert caplog.messages == [
        "passed over 2 files of other formats (pictures, single DICOM files): slice.dcm, view.png"
    ]


def test_a_folder_of_pictures_says_what_to_give(tmp_path):
    (tmp_path / "a.png").touch(), (tmp_path / "b.png").touch()
    with pytest.raises(
        InputError, match=r"found only files of other formats \(a\.png, b\.png\); give volumes, "
    ):
        find_images(tmp_path)
    with pytest.raises(
        InputError, match=r"found only files of other formats \(a\.png, b\.png\); give volumes, "
    ):
        find_cases(tmp_path, NAMES)


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A subfolder that cannot be read, beside one that can."""
    save(tmp_path / "open" / "p_t1.nii.gz"), (tmp_path / "shut").mkdir()
    listing = Path.iterdir

    def refuse(folder):
        if folder.name == "shut":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    return tmp_path / "shut"


@pytest.mark.parametrize(
    "find", [lambda place: find_images(place, recursive=True), lambda place: find_cases(place, ["t1", "t2"])]
)
def test_a_subfolder_that_cannot_be_read_is_a_line_and_the_others_go_on(closed, find):
    problems = {item[CASE]: header_problems(item) or voxel_problems(item) for item in find(closed.parent)}
    (refused,) = problems.pop("shut")
    assert refused.startswith(f"{closed}: Expected a folder that can be read, got: Permission denied")
    assert list(problems) in (["open/p_t1"], ["p"])


def test_an_empty_folder_beside_one_that_cannot_be_read_has_nothing(closed):
    (closed.parent / "open" / "p_t1.nii.gz").unlink()
    with pytest.raises(InputError, match="found none; set --input"):
        find_images(closed.parent)


def test_a_label_map_that_is_named_is_segmented_with_a_warning(tmp_path, caplog):
    path = save(tmp_path / "p_gt.nii.gz", (2, 2, 2))
    assert cases_of(find_images(path)) == ["p_gt"]
    assert "holds a few whole numbers, as a label map does; it is segmented as you named it" in caplog.text


def test_results_never_become_images(tmp_path):
    save(tmp_path / "p.nii.gz"), save(tmp_path / "p_seg.nii.gz"), save(tmp_path / "p_prob.nii.gz")
    save(tmp_path / "out" / "q_seg.nii.gz"), save(tmp_path / "out" / "maps" / "p_map.nii.gz")
    assert cases_of(find_images(tmp_path, tmp_path / "out", recursive=True)) == ["p"]
    assert cases_of(find_images(tmp_path, tmp_path)) == ["p"]


def test_linked_folders_are_looked_through(tmp_path):
    save(tmp_path / "store" / "a.nii.gz")
    (tmp_path / "subset").mkdir()
    os.symlink(tmp_path / "store", tmp_path / "subset" / "linked")
    assert cases_of(find_images(tmp_path / "subset", recursive=True)) == ["linked/a"]


def test_a_folder_of_dicom_files_is_an_image_of_its_name(tmp_path):
    for series in ("1.2.840.1", "1.2.840.2"):
        (tmp_path / series).mkdir()
        (tmp_path / series / "IM0").write_bytes(bytes(128) + b"DICM")
    assert find_images(tmp_path / "1.2.840.1") == [{IMAGE: str(tmp_path / "1.2.840.1"), CASE: "1.2.840.1"}]
    assert cases_of(find_images(tmp_path, recursive=True)) == ["1.2.840.1", "1.2.840.2"]


def test_cases_are_found(tmp_path):
    files = [save(tmp_path / f"p_{name}.nii.gz") for name in ("t1", "t2")]
    found = find_cases(tmp_path, ["t2", "t1"])
    assert found == [{IMAGE: files[::-1], CASE: "p", MODALITIES: ["t2", "t1"]}]


def test_a_series_in_time_is_told_from_its_header(tmp_path):
    path = save(tmp_path / "p.nii", (4, 5, 2, 3))
    with open(path, "r+b") as file:
        file.truncate(Path(path).stat().st_size - 20)  # its voxels cannot be read
    (message,) = header_problems({IMAGE: path})
    assert message == (
        f"{path}: Expected a volume of three axes, got the axes 4 x 5 x 2 x 3; save one time point or "
        "channel of it as a file of its own."
    )
    assert header_problems({IMAGE: save(tmp_path / "q.nii.gz", (4, 5, 2, 1))}) == []


def test_an_unreadable_image_is_named(tmp_path):
    bad = save(tmp_path / "b.nii.gz")
    with open(bad, "r+b") as file:
        file.truncate(60)
    (message,) = voxel_problems({IMAGE: bad})
    assert message.startswith(f"{bad}: Expected a complete, readable image")


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((4, 5, 3), np.eye(4), "shape"),
        ((4, 5, 2), 2 * np.eye(4), "affine"),
    ],
)
def test_modalities_that_do_not_lie_on_each_other_are_both_named(tmp_path, shape, affine, words):
    first = save(tmp_path / "p_t1.nii")
    second = save(tmp_path / "p_t2.nii", shape, affine)
    (message,) = voxel_problems(find_cases(tmp_path, ["t1", "t2"])[0])
    assert message.startswith(f"{first}, {second}: Expected one {words} for all modalities, got ")


def test_of_three_modalities_the_odd_one_is_named(tmp_path):
    first = save(tmp_path / "p_t1.nii", (4, 5, 3))
    for name in ("t2", "flair"):
        save(tmp_path / f"p_{name}.nii")
    (message,) = voxel_problems(find_cases(tmp_path, ["t1", "t2", "flair"])[0])
    assert message.startswith(f"{first}: Expected shape (4, 5, 2) as in the other modalities, got ")


def test_every_file_of_a_case_must_be_readable(tmp_path):
    save(tmp_path / "p_t1.nii.gz")
    (tmp_path / "p_t2.nii.gz").write_bytes(b"broken")
    (message,) = voxel_problems(find_cases(tmp_path, ["t1", "t2"])[0])
    assert f"{tmp_path / 'p_t2.nii.gz'}: Expected a complete" in message and "p_t1" not in message


def test_a_file_of_one_modality_must_have_one_channel(tmp_path):
    path = save(tmp_path / "p_t1.nii", (4, 5, 2, 2))
    (message,) = voxel_problems(find_cases(path, ["t1", "t2"])[0])
    assert f"{path}: Expected 1 channels (t1), got 2" in message


POOR = "; the mask will be poor, since weights_of_modalities relies on "


@pytest.mark.parametrize(
    ("there", "weights", "message"),
    [
        ("t1 flair t1ce", [0, 1, 0], None),
        ("t1 flair", [0, 1, 0], "case p: no image of t1ce"),
        ("flair", [0, 1, 0], "case p: no image of t1 and t1ce"),
        ("t1 t1ce", [0, 1, 0], f"case p: no image of flair{POOR}flair"),
        ("t1ce", [0, 1, 0], f"case p: no image of t1 and flair{POOR}flair"),
        ("t1ce", [1, 0.5, 0], f"case p: no image of t1 and flair{POOR}t1 and flair"),
        ("t1 t1ce", None, "case p: no image of flair; the mask rests on t1 and t1ce"),
    ],
)
def test_a_missing_modality_is_told_and_whether_the_mask_relies_on_it(cases, caplog, there, weights, message):
    warn_of_missing(cases(p=there), NAMES, weights)
    assert caplog.messages == ([message] if message else [])
    assert all(record.levelname == "WARNING" for record in caplog.records)


def test_every_case_that_lacks_a_modality_has_a_line(cases, caplog):
    warn_of_missing(cases(c="t1", a="t1 flair", b="t1 flair t1ce"), NAMES, [0, 1, 0])
    assert [message.split(":")[0] for message in caplog.messages] == ["case a", "case c"]


def test_one_file_of_a_case_is_told_that_the_others_lie_beside_it(cases, tmp_path, caplog):
    cases(p="t1 flair")
    warn_of_missing(find_cases(tmp_path / "p" / "p_t1.nii.gz", NAMES), NAMES, [0, 1, 0])
    beside = tmp_path / "p" / "p_flair.nii.gz"
    hint = f"; {beside} lies beside it: give the folder, or the files of one case in a folder"
    assert caplog.messages == [f"case p: no image of flair and t1ce{POOR}flair{hint}"]


def test_a_second_stage_takes_complete_cases(cases, tmp_path):
    assert incomplete_problem(cases(a="t1 flair t1ce")[0], NAMES) is None
    save(tmp_path / "all" / "c.nii.gz", (4, 5, 2, 3))
    assert incomplete_problem(find_cases(tmp_path / "all", NAMES)[0], NAMES) is None


def test_a_second_stage_is_told_what_a_case_lacks(cases):
    assert incomplete_problem(cases(c="flair")[0], NAMES) == (
        "case c: Expected t1, flair, t1ce, got no image of t1 and t1ce; segment it with the first stage "
        "(configs/inference.yaml alone)"
    )


def test_a_second_stage_says_that_the_other_files_lie_beside_the_one_that_it_was_given(cases, tmp_path):
    cases(p="t1 flair t1ce")
    message = incomplete_problem(find_cases(tmp_path / "p" / "p_t1.nii.gz", NAMES)[0], NAMES)
    beside = " and ".join(str(tmp_path / "p" / f"p_{name}.nii.gz") for name in ("flair", "t1ce"))
    assert f"; {beside} lie beside it: give the folder, or" in message
