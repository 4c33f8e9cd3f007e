"""Which files of a raw folder make a case: links, capitals, folders as names, and what is left out."""

import re

import pytest

from monai_ext.errors import InputError
from monai_ext.preparation.folders import image_file, patient_folders
from monai_ext.preparation.scan_files import find_files

SUFFIXES = {"_": {"t1": "t1", "seg": "seg"}, "-": {"t1n": "t1", "seg": "seg"}}


def fill(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(str(folder / name))
    return folder


def found(raw):
    return find_files(raw, SUFFIXES, "CASE_{t1,seg}.nii.gz")


def test_linked_folders_and_files_are_cases_like_others(tmp_path):
    fill(tmp_path / "raw" / "a", "a_t1.nii.gz", "a_seg.nii.gz")
    fill(tmp_path / "store" / "b", "b-t1n.nii", "b-seg.nii")
    fill(tmp_path / "store", "c_t1.nii.gz")
    (tmp_path / "raw" / "b").symlink_to(tmp_path / "store" / "b")
    (tmp_path / "raw" / "c_t1.nii.gz").symlink_to(tmp_path / "store" / "c_t1.nii.gz")
    (tmp_path / "raw" / "a" / "loop").symlink_to(tmp_path / "raw")
    assert list(found(tmp_path / "raw")) == ["a", "b", "c"]
    (tmp_path / "linked").symlink_to(tmp_path / "raw")
    assert list(found(tmp_path / "linked")) == ["a", "b", "c"]


def test_one_folder_under_two_names_is_one_case(tmp_path):
    fill(tmp_path / "raw" / "all" / "a", "a_t1.nii.gz")
    fill(tmp_path / "raw" / "subset")
    (tmp_path / "raw" / "subset" / "a").symlink_to(tmp_path / "raw" / "all" / "a")
    assert list(found(tmp_path / "raw")) == ["a"]


def test_capitals_and_other_formats_count(tmp_path):
    fill(tmp_path / "p", "p_T1.NII.GZ", "p_SEG.mha")
    files = found(tmp_path)["p"]
    assert files["t1"].name == "p_T1.NII.GZ" and files["seg"].name == "p_SEG.mha"


def test_files_of_the_same_names_are_cases_of_their_folders(tmp_path):
    for folder in ("s1/p0", "s2/p0", "s2/p1"):
        fill(tmp_path / folder, "t1.nii.gz", "seg.nii.gz")
    files = found(tmp_path)
    assert list(files) == ["p1", "s1_p0", "s2_p0"]
    assert files["s2_p0"]["seg"] == tmp_path / "s2/p0/seg.nii.gz"


def test_what_is_missing_has_the_name_that_it_should_have(tmp_path):
    fill(tmp_path / "p0", "t1.nii.gz")
    fill(tmp_path / "b", "b-t1n.nii.gz")
    assert found(tmp_path)["p0"]["seg"] == tmp_path / "p0/seg.nii.gz"
    assert found(tmp_path)["b"]["seg"] == tmp_path / "b/b-seg.nii.gz"


def test_further_and_hidden_files_are_passed_over(tmp_path):
    fill(tmp_path / "a", "a_t1.nii.gz", "a_t1_voided.nii.gz", "._a_seg.nii.gz", "a_t1.txt", ".DS_Store")
    fill(tmp_path / "__MACOSX" / "a", "b_t1.nii.gz")
    assert list(found(tmp_path)) == ["a"] and not found(tmp_path)["a"]["seg"].exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "Expected files CASE_{t1,seg}.nii.gz under {raw}, found none; check --raw."),
        (("a_flair.nii",), "found none but other images (1), such as a/a_flair.nii; check --raw, or rename"),
    ],
)
def test_nothing_of_these_names_is_told_with_what_is_there(tmp_path, names, message):
    fill(tmp_path / "a", *names)
    with pytest.raises(InputError, match=re.escape(message.replace("{raw}", str(tmp_path)))):
        found(tmp_path)


def test_a_folder_with_two_files_of_a_kind_is_refused(tmp_path):
    fill(tmp_path / "a", "a_t1.nii.gz", "a_t1.nii")
    with pytest.raises(
        InputError, match=r"a/a_t1\.nii\.gz: Expected one file of t1 in its folder, got .*; rename"
    ):
        found(tmp_path)


def test_a_file_that_is_linked_elsewhere_is_one_file(tmp_path):
    fill(tmp_path / "a", "a_t1.nii.gz"), fill(tmp_path / "b")
    (tmp_path / "b" / "a_t1.nii.gz").symlink_to(tmp_path / "a" / "a_t1.nii.gz")
    assert list(found(tmp_path)) == ["a"]


def test_files_of_one_name_in_several_folders_are_cases_called_by_them(tmp_path, caplog):
    for patient in ("p1", "p2"):
        fill(tmp_path / patient, "scan_t1.nii.gz", "scan_seg.nii.gz")
    fill(tmp_path / "images", "other_t1.nii.gz"), fill(tmp_path / "labels", "other_seg.nii.gz")
    files = found(tmp_path)
    assert list(files) == ["other", "p1_scan", "p2_scan"]
    assert files["p2_scan"] == {
        "t1": tmp_path / "p2/scan_t1.nii.gz",
        "seg": tmp_path / "p2/scan_seg.nii.gz",
    }
    assert files["other"]["seg"] == tmp_path / "labels/other_seg.nii.gz"
    assert caplog.messages == [
        "files of one name in several folders are different cases, called by their folders: p1_scan, p2_scan"
    ]


def test_a_copy_of_a_case_is_refused(tmp_path):
    for folder in ("a", "b"):
        (fill(tmp_path / folder) / "p_t1.nii.gz").write_bytes(b"same")
        (fill(tmp_path / folder / "patient001") / "scan.nii").write_bytes(b"same")
    for find in (found, lambda raw: patient_folders(raw, "patient", "patientNNN")):
        with pytest.raises(
            InputError, match=r"Expected each case once, got a copy of .*; leave one of the two"
        ):
            find(tmp_path)


def test_a_name_with_two_separators_is_refused(tmp_path):
    fill(tmp_path, "a_t1.nii.gz", "a-seg.nii.gz")
    with pytest.raises(InputError, match="Expected the files of a with one separator"):
        found(tmp_path)


def test_patients_of_one_name_are_called_by_the_folders_above(tmp_path, caplog):
    for folder in ("A/patient001", "B/patient001", "B/patient002"):
        fill(tmp_path / folder)
    folders = patient_folders(tmp_path, "patient", "patientNNN")
    assert folders == {
        "A_patient001": tmp_path / "A/patient001",
        "B_patient001": tmp_path / "B/patient001",
        "patient002": tmp_path / "B/patient002",
    }
    assert "called by the folders above too: A_patient001, B_patient001" in caplog.text


def test_patients_may_be_links_too(tmp_path):
    fill(tmp_path / "raw" / "training" / "patient001")
    fill(tmp_path / "store" / "patient002")
    (tmp_path / "raw" / "patient002").symlink_to(tmp_path / "store" / "patient002")
    fill(tmp_path / "raw" / "._patient003")
    assert list(patient_folders(tmp_path / "raw", "patient", "patientNNN")) == ["patient001", "patient002"]


def test_an_image_is_found_in_any_format_and_nifti_first(tmp_path):
    fill(tmp_path, "a_gt.nii.gz", "a.mha", "a.NII", "b.nrrd")
    assert image_file(tmp_path / "a").name == "a.NII"
    assert image_file(tmp_path / "b").name == "b.nrrd"
    with pytest.raises(InputError, match=r"c\.nii\.gz: Expected this file, found none"):
        image_file(tmp_path / "c")
