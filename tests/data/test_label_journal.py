import io
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, Orientationd, Resized, ScaleIntensityd, Spacingd

from monai_ext.data import DeviceCache, LabelJournal
from monai_ext.errors import InputError
from monai_ext.keys import IMAGE, LABEL, UNLABELED
from monai_ext.transforms import ResizeLabelSlicesd

STORAGES = {
    "device": {},
    "host": {"device_budget_gb": 0},
    "disk": {"device_budget_gb": 0, "host_budget_gb": 0},
}
KINDS = ("noisy", "full", "noisy", "noisy")


def same(item):
    return item


def items(kinds=KINDS, seed=0):
    """Items in memory, named a, b, ..., of different depths; some voxels are unlabeled."""
    g, found = torch.Generator().manual_seed(seed), []
    for depth, (name, kind) in enumerate(zip("abcdefgh", kinds, strict=False), start=2):
        label = torch.randint(0, 4, (1, 6, 5, depth), generator=g)
        label[label == 3] = UNLABELED
        image = torch.rand(1, 6, 5, depth, generator=g)
        found.append({IMAGE: image, LABEL: label, "case": name, "supervision": kind})
    return found


def journal(data=None, storage="device", folder=None, **options):
    options = STORAGES[storage] | options
    return LabelJournal(DeviceCache(data or items(), same, cache_dir=folder, progress=False, **options))


def other_label(found, item, seed=0):
    """A label that differs from the current one in about half of the voxels."""
    label = found.cache.volume(item)[1].clone()
    g = torch.Generator().manual_seed(seed)
    changed = torch.rand(label.shape, generator=g) < 0.5
    return torch.where(changed, torch.randint(0, 3, label.shape, generator=g).to(torch.uint8), label)


def saved(found):
    """The state as a checkpoint gives it back."""
    file = io.BytesIO()
    torch.save(found.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def labels(found):
    return [found.cache.volume(item)[1].clone() for item in range(len(found.cache.data))]


def assert_equal(some, others):
    assert len(some) == len(others) and all(map(torch.equal, some, others))


def test_only_noisy_items_may_change(caplog):
    found = journal()
    assert found.items == [0, 2, 3] and caplog.text == ""
    with pytest.raises(ValueError, match='item with supervision "noisy", got b; mark it in the datalist'):
        found.replace(1, other_label(found, 1), epoch=1)
    assert found.changes == []


def test_says_that_no_item_is_noisy(caplog):
    caplog.set_level(logging.INFO)
    assert journal(items(["full", "partial", "none"])).items == []
    assert 'no item of the training list has supervision "noisy"' in caplog.text


@pytest.mark.parametrize("image", ["data/p1.nii.gz", "data/p1.nii", ["data/p1.nii.gz", "data/p1_t2.nii.gz"]])
def test_an_item_without_case_has_the_name_of_its_image(image):
    found = journal()
    assert found.name(3) == "d"
    found.cache.data[3] = {IMAGE: image}
    assert found.name(3) == "p1"


def test_two_items_of_one_name_are_refused():
    data = items()
    data[2]["case"] = "d"
    with pytest.raises(ValueError, match="different names, got d more than once; give each of them another"):
        journal(data)
    data[2]["supervision"] = "full"
    assert journal(data).items == [0, 3]


BOTH = pytest.mark.parametrize("patch_size", [None, (4, 4, 2)], ids=["2d", "3d"])


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_a_change_records_what_became_of_which_voxel(storage, patch_size, tmp_path):
    found = journal(storage=storage, folder=tmp_path, patch_size=patch_size)
    old, new = found.cache.volume(2)[1].clone(), other_label(found, 2)
    where = [i for i, pair in enumerate(zip(old.flatten(), new.flatten(), strict=True)) if pair[0] != pair[1]]
    assert found.replace(2, new.long(), epoch=7) == len(where) > 0
    [change] = found.changes
    assert (change.epoch, change.item, change.voxels.tolist()) == (7, 2, where)
    assert change.old.tolist() == old.flatten()[where].tolist()
    assert change.new.tolist() == new.flatten()[where].tolist()
    assert torch.equal(found.cache.volume(2)[1], new) and torch.equal(found.original(2), old)


def test_a_label_that_changes_nothing_is_not_recorded():
    found = journal()
    assert found.replace(0, found.cache.volume(0)[1], epoch=1) == 0
    assert found.changes == [] and found.changed_items() == []


def test_a_label_of_another_shape_is_refused_and_not_recorded():
    found = journal()
    with pytest.raises(ValueError, match=r"Expected a label \(1, 6, 5, 2\) for item 0, got \(1, 6, 5, 3\)"):
        found.replace(0, torch.zeros(1, 6, 5, 3), epoch=1)
    assert found.changes == []


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_the_first_label_is_known_after_many_changes_of_the_same_voxels(storage, patch_size, tmp_path):
    found = journal(storage=storage, folder=tmp_path, patch_size=patch_size)
    first = labels(found)
    for epoch in range(1, 6):
        for item in (0, 3):
            found.replace(item, other_label(found, item, seed=10 * epoch + item), epoch)
    latest = labels(found)
    assert_equal([found.original(item) for item in range(4)], first)
    assert_equal(labels(found), latest)  # asking changed nothing
    assert not torch.equal(latest[0], first[0]) and found.changed_items() == [0, 3]


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_a_reverted_item_is_as_its_file_and_the_others_stay_changed(storage, patch_size, tmp_path):
    found = journal(storage=storage, folder=tmp_path, patch_size=patch_size)
    first = labels(found)
    for epoch in (1, 2):
        for item in found.items:
            found.replace(item, other_label(found, item, seed=epoch), epoch)
    latest = labels(found)
    found.revert(2)
    assert_equal(labels(found), [latest[0], first[1], first[2], latest[3]])
    assert [(c.epoch, c.item) for c in found.changes] == [(1, 0), (1, 3), (2, 0), (2, 3)]


def test_one_slice_deep_labels_are_recorded_too():
    """Where the slices of a volume are stacked, one slice is a view of the stack."""
    data = items(["noisy"])
    data[0] |= {key: data[0][key][..., :1] for key in (IMAGE, LABEL)}
    found = journal(data)
    first = labels(found)
    assert found.replace(0, other_label(found, 0), epoch=1) == len(found.changes[0].voxels) > 0
    assert_equal([found.original(0)], first)


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_a_state_goes_through_a_checkpoint_to_any_storage(storage, patch_size, tmp_path):
    found = journal(patch_size=patch_size)
    first = labels(found)
    for epoch in (2, 5, 9):
        for item in (3, 0):
            found.replace(item, other_label(found, item, seed=epoch), epoch)
    resumed = journal(storage=storage, folder=tmp_path, patch_size=patch_size)
    resumed.replace(2, other_label(resumed, 2), epoch=1)  # which the checkpoint does not know
    resumed.load_state_dict(saved(found))
    assert_equal(labels(resumed), labels(found))
    assert_equal([resumed.original(item) for item in range(4)], first)
    assert [c[:2] for c in resumed.changes] == [c[:2] for c in found.changes]
    for here, there in zip(resumed.changes, found.changes, strict=True):
        assert_equal(here[2:], there[2:])


def test_a_state_finds_its_items_in_another_order():
    found = journal()
    found.replace(3, other_label(found, 3), epoch=1)
    resumed = journal(items()[::-1])
    resumed.load_state_dict(saved(found))
    assert_equal(labels(resumed), labels(found)[::-1])
    assert resumed.changed_items() == [0]


def test_other_labels_are_refused_and_their_cases_named():
    found = journal()
    found.replace(0, other_label(found, 0), epoch=1)
    state, data = saved(found), items()
    data[3][LABEL][0, 2, 3, 1] = 1 - min(1, data[3][LABEL][0, 2, 3, 1])
    changed = journal(data)
    before = labels(changed)
    with pytest.raises(InputError, match=r"label files .* got others for d \(1 of 3 noisy cases\); restore"):
        changed.load_state_dict(state)
    assert_equal(labels(changed), before)


def test_a_case_more_or_less_is_refused_and_many_are_abbreviated():
    with pytest.raises(InputError, match=r"got others for b \(1 of 4 noisy cases\)"):
        journal(items(["noisy"] * 4)).load_state_dict(saved(journal()))
    with pytest.raises(InputError, match=r"got others for b \(1 of 3 noisy cases\)"):
        journal().load_state_dict(saved(journal(items(["noisy"] * 4))))
    with pytest.raises(InputError, match=r"for a, b, c, d, e, \.\.\. \(7 of 7"):
        journal(items(["noisy"] * 7, seed=1)).load_state_dict(saved(journal(items(["noisy"] * 7))))


AFFINES = {
    "plain": np.diag([1.5, 2.0, 8.0, 1.0]),
    "flipped": np.array([[-1.5, 0, 0, 40], [0, -2.0, 0, 30], [0, 0, 8, -5], [0, 0, 0, 1]]),
    "permuted": np.array([[0, 0, 8.0, 3], [1.5, 0, 0, 2], [0, -2.0, 0, 1], [0, 0, 0, 1]]),
    "oblique": np.array([[1.3, -1.0, 1.5, 7], [0.75, 1.7, -1.6, 8], [0.02, 0.35, 7.7, 9], [0, 0, 0, 1]]),
}
SHAPE = (24, 18, 5)
BLOCK = np.s_[4:10, 6:12, 2:4]
"""Where the change is, in voxels of the file; all is background for some voxels around."""


def write_case(folder, affine, label, name="p1", images=1):
    """Image and label files, and the item that names them."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{name}_{n}.nii.gz" for n in range(images)]
    for path in paths:
        nib.save(nib.Nifti1Image(rng.random(SHAPE, dtype=np.float32), affine), path)
    file = folder / f"{name}_label.nii.gz"
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    nib.save(nib.Nifti1Image(label, affine, header), file)
    image = [str(path) for path in paths] if images > 1 else str(paths[0])
    return {IMAGE: image, LABEL: str(file), "case": name, "supervision": "noisy"}


def fine_label(dtype=np.uint8):
    """Too fine for a smaller grid: what is not changed can only come from the file itself."""
    label = np.random.default_rng(1).integers(0, 3, SHAPE).astype(dtype)
    label[:16, :16] = 0
    return label


def file_journal(data, *size, patch_size=None):
    chain = [
        LoadImaged([IMAGE, LABEL], ensure_channel_first=True),
        ScaleIntensityd(IMAGE),
        Resized(IMAGE, (*size, -1), mode="trilinear", anti_aliasing=True),
        ResizeLabelSlicesd(LABEL, size, num_classes=3),
    ]
    return LabelJournal(DeviceCache(data, Compose(chain), patch_size=patch_size, progress=False))


def written(folder, name="p1"):
    return nib.load(folder / f"{name}.nii.gz")


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("value", [2, UNLABELED])
@pytest.mark.parametrize("patch_size", [None, (8, 8, 3)], ids=["2d", "3d"])
def test_corrected_files_hold_the_change_at_its_place_and_the_file_elsewhere(
    tmp_path, affine, value, patch_size
):
    item = write_case(tmp_path, affine, fine_label())
    found = file_journal([item], 12, 9, patch_size=patch_size)
    label = found.cache.volume(0)[1].clone()
    label[0, 2:5, 3:6, 2:4] = value  # half the size in the plane
    found.replace(0, label, epoch=1)
    found.write_corrected(tmp_path / "new" / "corrected")
    image, wanted = written(tmp_path / "new" / "corrected"), fine_label()
    wanted[BLOCK] = value
    np.testing.assert_array_equal(np.asarray(image.dataobj), wanted)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.get_data_dtype() == np.uint8 and image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(nib.load(item[LABEL]).dataobj), fine_label())


@pytest.mark.parametrize(
    "label", [fine_label(np.int16), fine_label(np.float32), fine_label()[..., None]], ids=["i", "f", "4d"]
)
def test_label_files_of_other_types_and_several_images_are_fine(tmp_path, label):
    found = file_journal([write_case(tmp_path, AFFINES["flipped"], label, images=2)], 24, 18)
    changed = found.cache.volume(0)[1].clone()
    changed[0][BLOCK] = 1
    found.replace(0, changed, epoch=1)
    found.write_corrected(tmp_path)
    wanted = fine_label()
    wanted[BLOCK] = 1
    np.testing.assert_array_equal(np.asarray(written(tmp_path).dataobj), wanted.reshape(label.shape))


def assert_change_in_place(path, label, grid):
    """Voxels of the file well inside the network's box of ones are changed, those well outside are not."""
    image, box = nib.load(path), label[0].nonzero().numpy()
    to_grid = np.linalg.inv(grid) @ image.affine
    place = np.indices(image.shape).reshape(3, -1).T @ to_grid[:3, :3].T + to_grid[:3, 3]
    depth = np.minimum(place - box.min(axis=0), box.max(axis=0) - place).min(axis=1) + 0.5  # of a voxel
    new = np.asarray(image.dataobj).flatten()
    assert (new[depth > 0.5] == 1).all() and (new[depth < -0.01] == 0).all()
    assert (depth > 0.5).sum() > 10


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("size", [(16, 13), (40, 31)], ids=["smaller", "larger"])
def test_a_change_stays_in_place_whatever_the_grid_of_the_network(tmp_path, affine, size):
    item = write_case(tmp_path, affine, np.zeros(SHAPE, np.uint8))
    found = file_journal([item], *size)
    label = found.cache.volume(0)[1].clone()
    label[0, 4 : size[0] // 2, 3 : size[1] // 2, 1:4] = 1
    found.replace(0, label, epoch=1)
    found.write_corrected(tmp_path)
    assert_change_in_place(tmp_path / "p1.nii.gz", label, found.cache.transform(item)[IMAGE].affine.numpy())


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_oriented_and_resampled_volumes_come_back_to_the_file(tmp_path, affine):
    keys = [IMAGE, LABEL]
    chain = [
        LoadImaged(keys, ensure_channel_first=True),
        Orientationd(keys, axcodes="RAS", labels=None),
        Spacingd(keys, pixdim=(2.0, 2.0, 4.0), mode=("bilinear", "nearest")),
    ]
    item = write_case(tmp_path, affine, np.zeros(SHAPE, np.uint8))
    cache = DeviceCache([item], Compose(chain), patch_size=(4, 4, 4), progress=False)
    found, label = LabelJournal(cache), cache.volume(0)[1].clone()
    label[(0, *(slice(n // 5, n // 2 + 2) for n in label.shape[1:]))] = 1
    found.replace(0, label, epoch=1)
    found.write_corrected(tmp_path)
    assert_change_in_place(tmp_path / "p1.nii.gz", label, cache.transform(item)[IMAGE].affine.numpy())


def test_only_changed_items_have_a_file_and_that_of_an_earlier_run_vanishes(tmp_path):
    data = [write_case(tmp_path, AFFINES["plain"], fine_label(), name) for name in ("p1", "p2")]
    found, folder = file_journal(data, 12, 9), tmp_path / "corrected"
    for item in (0, 1):
        found.replace(item, 1 - found.cache.volume(item)[1].clamp_max(1), epoch=1)
    found.write_corrected(folder)
    (folder / "mine.nii.gz").touch()
    found.revert(0)
    found.write_corrected(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.nii.gz", "p2.nii.gz"]
