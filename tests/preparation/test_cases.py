"""What is written of a case: copies where the file can stay, slices along the last axis, distinct names."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import write_datalist
from monai_ext.errors import InputError
from monai_ext.keys import Supervision
from monai_ext.preparation.cases import Patient, read_image, read_label, write_case

AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 8, -5], [0, 0, 0, 1.0]])
PATIENT = Patient("p", "training", Supervision.PARTIAL)


def saved(folder, name, array, affine=AFFINE, order=(0, 1, 2)):
    folder.mkdir(exist_ok=True)
    image = nib.Nifti1Image(array.transpose(order), affine[:, [*order, 3]])
    nib.save(image, folder / name)
    return folder / name


@pytest.fixture
def arrays():
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[2:4, 1:3, 1:3] = 1
    return np.random.default_rng(0).integers(0, 99, mask.shape).astype(np.int16), mask


def written(folder, image, label, case="p"):
    """Item and folder of a case of one image."""
    volume = read_image(image)
    truth = read_label(label, volume, {0, 1})
    out = folder / "out"
    out.mkdir(exist_ok=True)
    item, _ = write_case(out, volume, truth, truth, patient=PATIENT, case=case)
    return item, out


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_slices_lie_along_the_last_axis_whatever_the_storage(tmp_path, arrays, order):
    array, mask = arrays
    image = saved(tmp_path, "p.nii.gz", array, order=order)
    item, out = written(tmp_path, image, saved(tmp_path, "gt.nii.gz", mask, order=order))
    for key, expected in (("image", array), ("label", mask), ("reference", mask)):
        found = nib.load(out / item[key])
        np.testing.assert_array_equal(np.asanyarray(found.dataobj), expected)
        np.testing.assert_allclose(found.affine, AFFINE)
    if order == (0, 1, 2):
        assert (out / item["image"]).read_bytes() == image.read_bytes()
    path = write_datalist(out / "datalist.json", name="", labels={0: "background", 1: "x"}, training=[item])
    assert check_datalist(path, references=True) == []


def test_other_formats_become_nifti(tmp_path, arrays):
    array, mask = arrays
    for name, voxels in (("p.mha", array), ("gt.nrrd", mask)):
        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, tmp_path / name)
    item, out = written(tmp_path, tmp_path / "p.mha", tmp_path / "gt.nrrd")
    assert item["image"] == "images/p.nii.gz"
    np.testing.assert_array_equal(np.asanyarray(nib.load(out / item["image"]).dataobj), array)
    np.testing.assert_array_equal(np.asanyarray(nib.load(out / item["label"]).dataobj), mask)


def test_images_of_one_name_do_not_overwrite_each_other(tmp_path, arrays):
    array, mask = arrays
    items = []
    for case in ("a", "b"):
        image = saved(tmp_path / case, "t1.nii.gz", array + (case == "b"))
        items.append(written(tmp_path, image, saved(tmp_path / case, "seg.nii.gz", mask), case)[0])
    assert [item["image"] for item in items] == ["images/a_t1.nii.gz", "images/b_t1.nii.gz"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def test_a_series_in_time_and_a_mask_of_255_are_refused(tmp_path, arrays):
    array, mask = arrays
    series = saved(tmp_path, "p.nii.gz", array)
    nib.save(nib.Nifti1Image(np.stack([array] * 3, -1), AFFINE), series)
    with pytest.raises(InputError, match=r"p\.nii\.gz: Expected three axes, got shape \(6, 5, 4, 3\)"):
        read_image(series)
    image = read_image(saved(tmp_path, "p.nii.gz", array))
    with pytest.raises(InputError, match="got 0 and 255, as in a binary mask; write 1 instead"):
        read_label(saved(tmp_path, "gt.nii.gz", 255 * mask), image, {0, 1})
