import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.images.inputs import (
    find_cases,
    find_images,
    stop_if_incomplete,
    stop_if_unreadable,
    warn_of_missing,
)
from monai_ext.keys import CASE, IMAGE, MODALITIES
from tests.exit_messages import message_of

NAMES = ["t1", "flair", "t1ce"]


def save(path, shape=(4, 4, 2), affine=None):
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return str(path)


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


def test_two_files_that_would_be_saved_under_one_name_are_refused(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "a.nii.gz").touch()
    assert "one file for each name" in message_of(find_images, tmp_path)


@pytest.mark.parametrize(("name", "got"), [("empty", "found none"), ("absent", "got no such file or folder")])
def test_says_that_there_is_no_image(tmp_path, name, got):
    (tmp_path / "empty").mkdir()
    place = tmp_path / name
    message = message_of(find_images, place)
    assert (
        message == f"Expected an image or a folder of .nii.gz or .nii files at {place}, {got}; set --input."
    )


def test_cases_are_found(tmp_path):
    files = [save(tmp_path / f"p_{name}.nii.gz") for name in ("t1", "t2")]
    found = find_cases(tmp_path, ["t2", "t1"])
    assert found == [{IMAGE: files[::-1], CASE: "p", MODALITIES: ["t2", "t1"]}]
    message = message_of(find_cases, tmp_path, ["flair", "t1ce"])
    assert "NAME_<modality>" in message and "\n" not in message


@pytest.mark.parametrize(("number", "words"), [(1, "1 image to segment"), (2, "2 images to segment")])
def test_the_log_says_how_many_images_there_are(tmp_path, caplog, number, words):
    caplog.set_level(logging.INFO, "monai_ext")
    for case in range(number):
        save(tmp_path / f"{case}.nii.gz")
    stop_if_unreadable(find_images(tmp_path))
    assert caplog.messages == [words]


def test_unreadable_images_are_named_before_anything_is_segmented(tmp_path):
    good, bad = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz")
    with open(bad, "r+b") as file:
        file.truncate(60)
    message = message_of(stop_if_unreadable, find_images(tmp_path))
    assert bad in message and good not in message
    assert message.splitlines()[1:] == ["Nothing was segmented."]


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((4, 4, 3), np.eye(4), "shape"),
        ((4, 4, 2), 2 * np.eye(4), "affine"),
    ],
)
def test_modalities_that_do_not_lie_on_each_other_are_both_named(tmp_path, shape, affine, words):
    first = save(tmp_path / "p_t1.nii")
    second = save(tmp_path / "p_t2.nii", shape, affine)
    message = message_of(stop_if_unreadable, find_cases(tmp_path, ["t1", "t2"]))
    assert message.startswith(f"image {first}, {second}: Expected one {words} for all modalities, got ")
    assert message.splitlines()[1:] == ["Nothing was segmented."]


def test_of_three_modalities_the_odd_one_is_named(tmp_path):
    first = save(tmp_path / "p_t1.nii", (4, 4, 3))
    for name in ("t2", "flair"):
        save(tmp_path / f"p_{name}.nii")
    message = message_of(stop_if_unreadable, find_cases(tmp_path, ["t1", "t2", "flair"]))
    assert message.startswith(f"image {first}: Expected shape (4, 4, 2) as in the other modalities, got ")
    assert message.splitlines()[1:] == ["Nothing was segmented."]


def test_every_file_of_a_case_must_be_readable(tmp_path):
    save(tmp_path / "p_t1.nii.gz")
    (tmp_path / "p_t2.nii.gz").write_bytes(b"broken")
    message = message_of(stop_if_unreadable, find_cases(tmp_path, ["t1", "t2"]))
    assert f"image {tmp_path / 'p_t2.nii.gz'}: Expected a complete" in message and "p_t1" not in message


def test_a_file_of_one_modality_must_have_one_channel(tmp_path):
    path = save(tmp_path / "p_t1.nii", (4, 4, 2, 2))
    message = message_of(stop_if_unreadable, find_cases(path, ["t1", "t2"]))
    assert f"image {path}: Expected 1 channels (t1), got 2" in message


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
    stop_if_incomplete(cases(a="t1 flair t1ce", b="t1 flair t1ce"), NAMES)
    save(tmp_path / "all" / "c.nii.gz", (4, 4, 2, 3))
    stop_if_incomplete(find_cases(tmp_path / "all", NAMES), NAMES)
    assert "a without t1" in message_of(stop_if_incomplete, find_cases(tmp_path, ["t2", *NAMES[1:]]), NAMES)


def test_a_second_stage_stops_where_a_case_lacks_a_modality(cases):
    found = cases(a="t1 flair t1ce", b="t1 flair", c="flair")
    assert message_of(stop_if_incomplete, found, NAMES) == (
        "Expected t1, flair, t1ce of every case, got b without t1ce, c without t1 and t1ce; segment them "
        "with the first stage (configs/inference.yaml alone). Nothing was segmented."
    )


@pytest.mark.parametrize(
    ("number", "got"),
    [
        (1, "got a without flair and t1ce; segment it with"),
        (5, ", e without flair and t1ce; segment them with"),
        (7, ", e without flair and t1ce, ...; segment them with"),
    ],
)
def test_at_most_five_cases_are_named(cases, number, got):
    message = message_of(stop_if_incomplete, cases(**dict.fromkeys("abcdefg"[:number], "t1")), NAMES)
    assert got in message and "f without" not in message


def test_a_second_stage_says_that_the_other_files_lie_beside_the_one_that_it_was_given(cases, tmp_path):
    cases(p="t1 flair t1ce")
    message = message_of(stop_if_incomplete, find_cases(tmp_path / "p" / "p_t1.nii.gz", NAMES), NAMES)
    beside = " and ".join(str(tmp_path / "p" / f"p_{name}.nii.gz") for name in ("flair", "t1ce"))
    assert f"; {beside} lie beside it: give the folder, or" in message
