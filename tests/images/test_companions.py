from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.images.companions import files_of_image


def names(path):
    return [file.name for file in files_of_image(path)]


def made(folder, *files, **headers):
    for name in files:
        (folder / name).write_bytes(b"123")
    for name, text in headers.items():
        (folder / name.replace("_", ".")).write_text(text)


@pytest.mark.parametrize("end", ["mhd", "nhdr"])
def test_what_simpleitk_writes_beside_a_header_belongs_to_it(tmp_path, end):
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(tmp_path / f"a.{end}"))
    found = files_of_image(tmp_path / f"a.{end}")
    assert found[0] == tmp_path / f"a.{end}" and {*found} == {*tmp_path.iterdir()} and len(found) == 2


@pytest.mark.parametrize(("first", "second"), [("a.hdr", "a.img"), ("a.img", "a.hdr")])
def test_a_pair_has_two_files_whichever_is_named(tmp_path, first, second):
    nib.save(nib.Nifti1Pair(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "a.img")
    made(tmp_path, "b.img", "a.nii")
    assert names(tmp_path / first) == [first, second]


def test_numbered_and_listed_files_belong_to_their_header(tmp_path):
    made(
        tmp_path,
        *(f"s{k}.raw" for k in range(1, 4)),
        a_mhd="NDims = 3\nElementDataFile = s%d.raw 1 3 2\n",
        b_mhd="NDims = 3\r\nElementDataFile = LIST\r\ns2.raw\r\ns1.raw\r\n",
        a_nhdr="NRRD0004\nspace units: mm\ndata file: s%01d.raw 3 1 -1\n",
        b_nhdr="NRRD0004\ndatafile: LIST 2\ns2.raw\nlost.raw\n",
    )
    assert names(tmp_path / "a.mhd")[1:] == ["s1.raw", "s3.raw"]
    assert names(tmp_path / "b.mhd")[1:] == ["s2.raw", "s1.raw"]
    assert names(tmp_path / "a.nhdr")[1:] == ["s3.raw", "s2.raw", "s1.raw"]
    assert names(tmp_path / "b.nhdr")[1:] == ["s2.raw"]


def test_voxels_behind_a_header_name_no_files(tmp_path):
    made(
        tmp_path,
        "x",
        a_mha="NDims = 3\nElementDataFile = LOCAL\n",
        a_nrrd="NRRD0004\nencoding: raw\n\ndata file: x\n",
    )
    assert names(tmp_path / "a.mha") == ["a.mha"] and names(tmp_path / "a.nrrd") == ["a.nrrd"]
    assert names(Path(tmp_path / "none.mhd")) == []


def test_all_visible_files_of_a_folder_belong_to_its_series(tmp_path):
    made(tmp_path, "2.dcm", "1.dcm", ".hidden")
    (tmp_path / "deeper").mkdir()
    assert names(tmp_path) == ["1.dcm", "2.dcm"]
