import math
import os
from pathlib import Path

import pytest

from monai_ext.errors import InputError
from monai_ext.images.search import folders_at, images_in, listed, nothing_found, others_in, stem


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def dicom(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM")


def names(paths):
    return [path.name for path in paths]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.nii.gz", "a"),
        ("A.NII.GZ", "A"),
        ("1.2.840.nii", "1.2.840"),
        ("1.2.840", "1.2.840"),
        ("@x $y%.mha", "@x $y%"),
    ],
)
def test_a_name_without_the_suffix_of_its_format(name, expected):
    assert stem(Path(name)) == expected


def test_every_format_counts_in_small_letters_and_capitals(tmp_path):
    found = ["a.nii", "b.nii.gz", "c.mha", "d.mhd", "e.nrrd", "f.mgz", "g.NII.GZ", "h.hdr"]
    touch(tmp_path, *found, "d.raw", "notes.txt", "picture.png")
    assert names(images_in(tmp_path)) == found


def test_header_and_voxels_of_a_pair_are_one_image(tmp_path):
    touch(tmp_path, "a.hdr", "a.img", "b.img")
    assert names(images_in(tmp_path)) == ["a.hdr", "b.img"]


def test_hidden_files_and_what_macos_leaves_are_passed_over(tmp_path):
    touch(tmp_path, "a.nii", "._a.nii", ".DS_Store")
    touch(tmp_path / "__MACOSX", "a.nii"), touch(tmp_path / ".cache", "a.nii")
    assert names(images_in(tmp_path)) == ["a.nii"]
    assert list(folders_at(tmp_path, math.inf)) == [tmp_path]


def test_a_folder_of_dicom_files_is_one_image(tmp_path):
    dicom(tmp_path / "series" / "IM0")
    assert images_in(tmp_path / "series") == [tmp_path / "series"]
    touch(tmp_path / "series", "converted.nii")
    assert names(images_in(tmp_path / "series")) == ["converted.nii"]
    assert images_in(touch(tmp_path / "notes", "a.txt")) == []


def test_folders_are_entered_as_deep_as_they_are_asked_for(tmp_path):
    touch(tmp_path / "b" / "deep"), touch(tmp_path / "a")
    assert names(folders_at(tmp_path)) == [tmp_path.name]
    assert names(folders_at(tmp_path, 1)) == [tmp_path.name, "a", "b"]
    assert names(folders_at(tmp_path, math.inf)) == [tmp_path.name, "a", "b", "deep"]


def test_links_are_followed_and_a_loop_ends(tmp_path):
    store = touch(tmp_path / "store", "a.nii")
    place = touch(tmp_path / "place")
    os.symlink(store, place / "linked")
    os.symlink(place, place / "linked to itself")
    os.symlink(store / "a.nii", place / "file.nii")
    assert list(folders_at(place, math.inf)) == [place, place / "linked"]
    assert [images_in(folder) for folder in folders_at(place, math.inf)] == [
        [place / "file.nii"],
        [place / "linked" / "a.nii"],
    ]


def test_a_link_that_leads_nowhere_is_left_to_whoever_opens_it(tmp_path):
    os.symlink(tmp_path / "gone.nii", tmp_path / "a.nii")
    assert names(images_in(tmp_path)) == ["a.nii"]


def test_the_folder_of_the_results_is_not_entered_unless_it_is_the_place_itself(tmp_path):
    touch(tmp_path / "out")
    assert list(folders_at(tmp_path, math.inf, tmp_path / "out")) == [tmp_path]
    assert list(folders_at(tmp_path, math.inf, tmp_path)) == [tmp_path, tmp_path / "out"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=f"{tmp_path}: Expected a folder that can be read, got: Permission"):
        images_in(tmp_path)


def test_at_most_five_paths_are_named():
    assert listed([Path(f"a/{n}") for n in range(7)], Path("a")) == "0, 1, 2, 3, 4 and 2 more"


def test_a_place_without_an_image_is_told_where_there_are_some(tmp_path):
    assert str(nothing_found(tmp_path / "x", "an image")).endswith(
        "x, got no such file or folder; set --input."
    )
    assert str(nothing_found(tmp_path, "an image")).endswith(f"at {tmp_path}, found none; set --input.")
    message = str(nothing_found(tmp_path, "an image", [tmp_path / "p1"]))
    assert "found none there but some in p1; name one" in message and "--recursive true" in message


def test_files_that_look_like_images_but_are_none_are_found(tmp_path):
    dicom(tmp_path / "loose"), dicom(tmp_path / "series" / "IM0")
    touch(tmp_path, "a.nii", "d.mhd", "d.raw", "notes.txt", "v.npy", "p.PNG", "q.tif", "x.dcm")
    assert names(others_in(tmp_path)) == ["loose", "p.PNG", "q.tif", "v.npy", "x.dcm"]
    touch(tmp_path / "series", "view.jpg")
    assert names(others_in(tmp_path / "series")) == ["view.jpg"]
