from contextlib import nullcontext

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, Invertd, LoadImaged
from nibabel.orientations import apply_orientation, inv_ornt_aff

from monai_ext.errors import InputError
from monai_ext.images import GridReader, OrientSlicesd
from monai_ext.images.transforms import TIE, slice_axis

LPS = np.array([[-1.4, 0, 0, 90.0], [0, -1.4, 0, 120.0], [0, 0, 8, -40.0], [0, 0, 0, 1]])
STORAGES = {
    "as trained": [[0, 1], [1, 1], [2, 1]],
    "first axis flipped": [[0, -1], [1, 1], [2, 1]],
    "second axis flipped": [[0, 1], [1, -1], [2, 1]],
    "slices reversed": [[0, 1], [1, 1], [2, -1]],
    "turned": [[0, -1], [1, -1], [2, 1]],
    "transposed": [[1, 1], [0, 1], [2, 1]],
    "slices first": [[1, 1], [2, 1], [0, 1]],
    "slices second, reversed": [[0, 1], [2, -1], [1, -1]],
}


def voxels():
    return np.random.default_rng(0).random((1, 5, 4, 3)).astype(np.float32)


def image(array, affine):
    affine = torch.as_tensor(affine, dtype=torch.float64)
    return MetaTensor(torch.as_tensor(array.copy()), meta={"affine": affine, "original_affine": affine})


def stored(ornt):
    """The voxels, stored in another way, with the affine to match."""
    ornt = np.array(ornt)
    array = apply_orientation(voxels()[0], ornt)[None]
    return image(array, LPS @ inv_ornt_aff(ornt, voxels().shape[1:]))


@pytest.mark.parametrize("ornt", STORAGES.values(), ids=STORAGES)
@pytest.mark.parametrize("slices", [True, False])
def test_every_storage_comes_as_trained_and_goes_back(ornt, slices):
    transform = Compose([OrientSlicesd("image", "LPS", slices)])
    given = stored(ornt)
    done = transform({"image": given})
    np.testing.assert_array_equal(done["image"].numpy(), voxels())
    np.testing.assert_allclose(done["image"].affine, LPS, atol=1e-12)
    back = Invertd("pred", transform, orig_keys="image")({**done, "pred": MetaTensor(voxels())})["pred"]
    np.testing.assert_array_equal(back.numpy(), given.numpy())
    np.testing.assert_allclose(back.affine, given.affine, atol=1e-12)


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [
        ((1, 1, 1), (9, 9, 9), 2),
        ((1.005, 1, 1), (9, 9, 9), 2),
        ((1.02, 1, 1), (9, 9, 9), 0),
        ((1, 8, 1), (9, 9, 9), 1),
        ((1.4, 1.4, 1), (9, 9, 1), 2),
        ((1, 1.4, 1.4), (1, 9, 9), 0),
    ],
)
def test_slices_are_cut_across_the_largest_spacing_and_the_third_axis_on_a_tie(spacing, shape, axis):
    assert slice_axis(np.diag([*spacing, 1.0]), shape) == axis


def test_coronal_slices_stay_slices_and_the_other_axes_keep_the_order_of_the_code():
    given = image(voxels(), np.diag([1.0, 8.0, 1.0, 1.0]))
    done = OrientSlicesd("image", "LPS")({"image": given})["image"]
    assert nib.aff2axcodes(done.affine) == ("L", "S", "P")
    np.testing.assert_array_equal(done.numpy(), voxels().transpose(0, 1, 3, 2)[:, ::-1, :, ::-1])


def test_tags_follow_the_slices():
    tags = [[0, 1, 1]]
    transform = OrientSlicesd("image", "LPS")
    for kind in (list, torch.tensor):
        kept = transform({"image": stored(STORAGES["turned"]), "tags": kind(tags)})["tags"]
        turned = transform({"image": stored(STORAGES["slices reversed"]), "tags": kind(tags)})["tags"]
        assert np.asarray(kept).tolist() == tags and np.asarray(turned).tolist() == [[1, 1, 0]]


def test_tags_of_slices_along_another_axis_are_refused():
    item = {"image": stored(STORAGES["slices first"]), "tags": [[0, 1, 1]], "case": "p7"}
    with pytest.raises(InputError, match=r"case p7: .* largest spacing is along axis 0 \(from 0\); store it"):
        OrientSlicesd("image", "LPS")(item)


@pytest.mark.parametrize("array", [voxels()[0], torch.as_tensor(voxels()), MetaTensor(voxels())])
def test_an_array_without_an_affine_lies_as_the_training_images_do(array):
    done = OrientSlicesd("image", "LPS")({"image": array})["image"]
    np.testing.assert_array_equal(done.numpy(), voxels())


def test_what_lies_as_trained_is_neither_copied_nor_changed():
    given = stored(STORAGES["as trained"])
    done = OrientSlicesd("image", "LPS")({"image": given})["image"]
    assert done.data_ptr() == given.data_ptr()


@pytest.mark.parametrize("axcodes", ["LP", "LPX", "LRS", "lps"])
def test_other_codes_are_refused(axcodes):
    with pytest.raises(ValueError, match="Expected one of L and R"):
        OrientSlicesd("image", axcodes)


def named(item, **names):
    for key, name in names.items():
        item[key].meta["filename_or_obj"] = name
    return item


@pytest.mark.parametrize("by", [1e-7, 0.009])
def test_a_label_within_the_tolerance_of_grids_is_turned_as_its_image(by):
    edge = 1 / (1 - TIE)  # of what counts as one spacing: alone, the label would be cut across another axis
    affines = [np.diag([edge + shift, 1, 1, 1]) for shift in (-by / 8, by / 8)]
    item = {key: image(voxels(), affine) for key, affine in zip(("image", "label"), affines, strict=True)}
    assert [slice_axis(affine, (5, 4, 3)) for affine in affines] == [2, 0]
    done = OrientSlicesd(["image", "label"], "LPS")(item)
    np.testing.assert_array_equal(done["label"].numpy(), done["image"].numpy())


@pytest.mark.parametrize("ornt", [STORAGES["slices first"], STORAGES["turned"]])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, MetaTensor])
def test_a_label_without_an_affine_is_turned_with_its_image_and_back(ornt, kind):
    given = stored(ornt)
    label = kind(given.numpy().copy())
    transform = Compose([OrientSlicesd(["image", "label"], "LPS")])
    done = transform({"image": given, "label": label})
    np.testing.assert_array_equal(done["label"].numpy(), voxels())
    np.testing.assert_allclose(done["label"].affine, done["image"].affine)
    np.testing.assert_array_equal(transform.inverse(done)["label"].numpy(), given.numpy())


def test_a_label_of_another_shape_is_refused_by_the_name_of_its_key():
    item = named(
        {"image": image(voxels(), LPS), "label": image(voxels()[..., :-1], LPS)}, image="i.nii", label="l.nii"
    )
    with pytest.raises(
        InputError, match=r"label l.nii: Expected the shape \(5, 4, 3\) of image, got \(5, 4, 2\)"
    ):
        OrientSlicesd(["image", "label"], "LPS")(item)


@pytest.mark.parametrize(("shift", "refused"), [(0.02, False), (0.2, True)])
def test_a_label_that_lies_elsewhere_than_its_image_is_refused(shift, refused):
    elsewhere = LPS.copy()
    elsewhere[2, 3] += shift  # of voxels of 8 mm, of which 1 % is allowed
    item = {"image": image(voxels(), LPS), "label": image(voxels(), elsewhere)}
    told = r"label: Expected the affine of image, got another origin by 0\.2"
    with pytest.raises(InputError, match=told) if refused else nullcontext():
        OrientSlicesd(["image", "label"], "LPS")(item)


@pytest.mark.parametrize("ornt", [STORAGES["as trained"], STORAGES["turned"]])
def test_what_the_caller_holds_stays_as_it_is(ornt):
    given = stored(ornt)
    before, affine = given.numpy().copy(), given.affine.clone()
    transform = OrientSlicesd("image", "LPS")
    done = transform({"image": given})
    assert given.applied_operations == [] and torch.equal(given.affine, affine)
    np.testing.assert_array_equal(given.numpy(), before)
    assert len(done["image"].applied_operations) == 1
    transform.inverse(done)
    assert len(done["image"].applied_operations) == 1


@pytest.mark.parametrize(("order", "spacing"), [((0, 1, 2), (1.4, 1.4, 8)), ((2, 0, 1), (8, 1.4, 1.4))])
def test_a_header_without_orientation_counts_as_trained_but_for_the_axis_of_slices(tmp_path, order, spacing):
    voxels = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    file = nib.Nifti1Image(voxels.transpose(order), None)
    file.header.set_zooms(spacing)
    file.header["sform_code"] = file.header["qform_code"] = 0
    nib.save(file, tmp_path / "a.nii.gz")
    load = LoadImaged("image", reader=GridReader)
    orient = OrientSlicesd("image", "LPS")
    read = EnsureChannelFirstd("image", strict_check=False)(load({"image": tmp_path / "a.nii.gz"}))
    turned = orient(read)
    assert np.array_equal(turned["image"][0], voxels)
    assert np.array_equal(orient.inverse(turned)["image"][0], voxels.transpose(order))
