import nibabel as nib
import numpy as np
import pytest

from monai_ext.images.headers import channels_in_header, shape_in_header, unit_in_header
from monai_ext.images.itk import itk


def save(path, shape=(4, 5, 6), spacing=1.0, unit="unknown"):
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), np.diag([spacing, spacing, spacing, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize(
    ("shape", "found", "channels"),
    [
        ((4, 5), (4, 5, 1), 1),
        ((4, 5, 6), (4, 5, 6), 1),
        ((4, 5, 6, 1, 1), (4, 5, 6), 1),
        ((4, 5, 6, 3), (4, 5, 6, 3), 3),
        ((4, 5, 6, 1, 2), (4, 5, 6, 1, 2), 1),
    ],
)
def test_sizes_are_those_of_the_axes_without_single_ones_at_the_end(tmp_path, shape, found, channels):
    path = save(tmp_path / "a.nii.gz", shape)
    assert shape_in_header(path) == found and channels_in_header(path) == channels


def test_other_formats_have_sizes_too(tmp_path):
    itk().WriteImage(itk().Image(4, 5, 6, itk().sitkInt16), str(tmp_path / "a.mha"))
    assert shape_in_header(tmp_path / "a.mha") == (4, 5, 6)
    for number in range(2):
        itk().WriteImage(itk().Image(4, 5, 1, itk().sitkInt16), str(tmp_path / f"{number}.dcm"))
    assert shape_in_header(tmp_path) == (4, 5, 2)


def test_a_header_that_cannot_be_read_is_left_to_whoever_reads_the_voxels(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"broken")
    assert shape_in_header(tmp_path / "a.nii") is None and channels_in_header(tmp_path / "a.nii") is None
    assert shape_in_header(tmp_path / "gone.mha") is None


@pytest.mark.parametrize(
    ("spacing", "unit", "found"),
    [(1, "unknown", "voxel"), (1.4, "unknown", "mm"), (1, "mm", "mm"), (1.4, "micron", "voxel")],
)
def test_a_spacing_of_one_without_a_unit_means_nothing(tmp_path, spacing, unit, found):
    assert unit_in_header(save(tmp_path / "a.nii", spacing=spacing, unit=unit)) == found


def test_formats_with_a_fixed_unit_are_in_mm(tmp_path):
    itk().WriteImage(itk().Image(4, 5, 6, itk().sitkInt16), str(tmp_path / "a.mha"))
    assert unit_in_header(tmp_path / "a.mha") == unit_in_header(tmp_path) == "mm"
