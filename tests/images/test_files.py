from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.images.files import VolumeError, read_volume
from monai_ext.images.grids import Grid
from monai_ext.images.headers import channels_in_header
from monai_ext.images.problems import grid_problem

AFFINE = np.array([[-2.0, 0, 0, 5], [0, 0, 3, -7], [0, 1.5, 0, 9], [0, 0, 0, 1]])


def array():
    return np.random.default_rng(0).integers(-50, 900, (4, 3, 2)).astype(np.int16)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.img"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_is_read_as_it_was_saved(tmp_path, name, kind):
    if name == "a.img":
        kind = {nib.Nifti1Image: nib.Nifti1Pair, nib.Nifti2Image: nib.Nifti2Pair}[kind]
    nib.save(kind(array(), AFFINE), tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array())
    np.testing.assert_allclose(volume.affine, AFFINE)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_other_formats_agree_with_nifti_in_axes_and_affine(tmp_path, name):
    sitk = pytest.importorskip("SimpleITK")
    nib.save(nib.Nifti1Image(array(), AFFINE), tmp_path / "a.nii")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii")), str(tmp_path / name))
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, array())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd", "a.img"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path, name, kept):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / name
    sitk.WriteImage(sitk.GetImageFromArray(array()), str(path))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(VolumeError, match="Expected a complete, readable image") as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_wrong_magic_is_an_error(tmp_path):
    nib.save(nib.Nifti1Image(array(), AFFINE), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[344:348] = b"oops"
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(VolumeError, match="no NIfTI header"):
        read_volume(tmp_path / "a.nii")


def test_a_header_that_promises_too_much_is_refused_before_memory_is_asked_for(tmp_path):
    nib.save(nib.Nifti1Image(array(), AFFINE), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[42:48] = np.array([30000] * 3, "<i2").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(VolumeError, match=f"promises {352 + 2 * 30000**3} bytes, the file holds 400;"):
        read_volume(tmp_path / "a.nii")


def test_a_folder_without_a_series_is_refused(tmp_path):
    with pytest.raises(VolumeError, match="the folder of a DICOM series, got a folder without one"):
        read_volume(tmp_path)


def test_voxels_of_several_numbers_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(array().astype(np.complex64), AFFINE), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match=r"real numbers, got shape \(4, 3, 2\) of type complex64"):
        read_volume(tmp_path / "a.nii")


def test_any_damaged_header_is_an_error_or_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(array(), AFFINE), tmp_path / "a.nii")
    whole = (tmp_path / "a.nii").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        raw = bytearray(whole)
        raw[rng.integers(40, 120)] = rng.integers(256)  # sizes, data type, intent, spacing, offset, scale
        (tmp_path / "a.nii").write_bytes(raw)
        try:
            read_volume(tmp_path / "a.nii")
        except VolumeError as error:
            assert "Expected" in str(error)


def test_an_affine_that_is_not_finite_never_agrees():
    affine = np.eye(4)
    affine[2, 0] = np.nan
    broken, sound = Grid(Path("a.nii"), (4, 3), affine), Grid(Path("b.nii"), (4, 3), np.eye(4))
    for pair in [(broken, sound), (sound, broken)]:
        assert "spacing or axes by nan (tolerance" in grid_problem(*pair)


@pytest.mark.parametrize(
    ("shape", "channels"), [((4, 3), 1), ((4, 3, 2), 1), ((4, 3, 2, 1), 1), ((4, 3, 2, 5), 5)]
)
def test_a_fourth_axis_holds_the_channels(tmp_path, shape, channels):
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), AFFINE), tmp_path / "a.nii.gz")
    assert read_volume(tmp_path / "a.nii.gz").channels == channels
    assert channels_in_header(tmp_path / "a.nii.gz") == channels


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_header_that_cannot_be_read_has_no_channels(tmp_path, content):
    if content is not None:
        (tmp_path / "a.nii.gz").write_bytes(content)
    assert channels_in_header(tmp_path / "a.nii.gz") is None


@pytest.mark.parametrize("offset", [0, 8, 351])
@pytest.mark.parametrize(
    ("kind", "field"), [(nib.Nifti1Image, (108, "<f4")), (nib.Nifti2Image, (168, "<i8"))]
)
@pytest.mark.parametrize("extra", [0, 6])
def test_voxels_are_never_read_from_the_header(tmp_path, caplog, offset, kind, field, extra):
    nib.save(kind(array(), AFFINE), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes()) + bytes(extra)
    at = np.array(offset, field[1]).tobytes()
    raw[field[0] : field[0] + len(at)] = at
    (tmp_path / "a.nii").write_bytes(raw)
    if extra:
        with pytest.raises(VolumeError, match=f"voxels from byte {offset} on, inside of the header"):
            read_volume(tmp_path / "a.nii")
    else:
        np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, array())
    assert not caplog.records


def test_an_unknown_data_type_is_said_once(tmp_path, caplog):
    nib.save(nib.Nifti1Image(array(), AFFINE), tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[70:72] = bytes(2)
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(VolumeError, match="data code 0"):
        read_volume(tmp_path / "a.nii")
    assert not caplog.records
