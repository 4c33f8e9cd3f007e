import logging
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, ScaleIntensityd

from monai_ext.data.batch_loader import BatchLoader
from monai_ext.data.device_cache import DeviceCache
from monai_ext.data.reader import content_hash, file_states
from monai_ext.errors import InputError
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, TAGS, UNLABELED, Supervision

STORAGES = {
    "device": {},
    "host": {"device_budget_gb": 0},
    "disk": {"device_budget_gb": 0, "host_budget_gb": 0},
}


def volume(*size, seed, modalities=2):
    """An item that is in memory already, with image values that float16 holds exactly."""
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 1000, (modalities, *size), generator=g).float() / 8
    return {IMAGE: image, LABEL: torch.randint(0, 4, (1, *size), generator=g), "case": str(seed)}


def volumes(*depths, space=(6, 5)):
    return [volume(*space, depth, seed=i) for i, depth in enumerate(depths)]


def same(item):
    return item


def reversed_slices(item):
    turned = {key: item[key].flip(-1) for key in (IMAGE, LABEL)}
    return {**item, **turned, TAGS: [row[::-1] for row in item[TAGS]]}


def cache(data, tmp_path=None, storage="device", transform=same, **kwargs):
    kwargs = STORAGES[storage] | kwargs
    return DeviceCache(data, transform, cache_dir=tmp_path, progress=False, **kwargs)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("storage", STORAGES)
def test_an_entry_is_a_slice_and_volumes_follow_one_another(storage, tmp_path):
    data = volumes(3, 1, 4)
    dataset = cache(data, tmp_path, storage)
    assert len(dataset) == 8
    places = [(v, z) for v, depth in enumerate((3, 1, 4)) for z in range(depth)]
    batch = dataset.gather(range(8), generator())
    for i, (v, z) in enumerate(places):
        assert torch.equal(batch[IMAGE][i], data[v][IMAGE][..., z])
        assert torch.equal(batch[LABEL][i], data[v][LABEL][..., z])
        assert torch.equal(dataset[i][IMAGE], batch[IMAGE][i])


def test_the_last_entry_is_followed_by_none():
    dataset = cache(volumes(2))
    assert torch.equal(dataset[-1][IMAGE], dataset[1][IMAGE])
    with pytest.raises(IndexError):
        dataset[2]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_batch_has_the_types_that_networks_and_losses_take(storage, tmp_path):
    batch = cache(volumes(3), tmp_path, storage).gather([2, 0, 2], generator())
    assert batch[IMAGE].shape == (3, 2, 6, 5) and batch[IMAGE].dtype == torch.float32
    assert batch[LABEL].shape == (3, 1, 6, 5) and batch[LABEL].dtype == torch.int64
    assert batch[SUPERVISION].shape == (3,) and batch[SUPERVISION].dtype == torch.int64


@pytest.mark.parametrize("patch_size", [None, (4, 5, 3)], ids=["2d", "3d"])
def test_all_storages_give_the_same_batches(patch_size, tmp_path):
    data = volumes(4, 5)
    first, *others = [
        cache(data, tmp_path, storage, patch_size=patch_size).gather([1, 0, 1], generator(3))
        for storage in STORAGES
    ]
    for other in others:
        assert all(torch.equal(other[key], first[key]) for key in first)


@pytest.mark.parametrize(
    ("storage", "place"),
    [
        ("device", "on cpu: it fits"),
        ("host", "in host memory: too much for cpu"),
        ("disk", "on disk: too much for memory"),
    ],
    ids=STORAGES,
)
def test_the_log_says_where_the_set_is_kept_and_why(storage, place, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    dataset = cache(volumes(2, 2), tmp_path, storage)
    assert dataset.storage == storage
    assert f"training set: 2 volumes, 0.00 GB, kept {place} (budgets:" in caplog.text
    assert bool(list(tmp_path.iterdir())) == (storage == "disk")


def test_the_budget_is_compared_with_all_volumes():
    data = volumes(4, 4, 4)
    bytes_needed = 3 * 6 * 5 * 4 * (2 * 2 + 1)  # two float16 modalities and a uint8 label
    assert cache(data, device_budget_gb=bytes_needed / 1e9).storage == "device"
    assert cache(data, device_budget_gb=(bytes_needed - 1) / 1e9).storage == "host"


@pytest.mark.parametrize("patch_size", [None, (4, 5, 2)], ids=["2d", "3d"])
@pytest.mark.parametrize("depths", [(1, 9, 2), (9, 1, 2)], ids=["small_first", "large_first"])
@pytest.mark.parametrize("storage", STORAGES)
def test_volumes_of_any_depth_are_kept_where_all_of_them_fit(depths, patch_size, storage, tmp_path):
    data, gb = volumes(*depths), 6 * 5 * sum(depths) * (2 * 2 + 1) / 1e9
    exact = dict(zip(STORAGES, [(gb, gb), (0.99 * gb, gb), (0.99 * gb, 0.99 * gb)], strict=True))
    budgets = dict(zip(("device_budget_gb", "host_budget_gb"), exact[storage], strict=True))
    dataset = cache(data, tmp_path, patch_size=patch_size, **budgets)
    assert dataset.storage == storage
    for i, entry in enumerate(dataset.gather(range(3), generator())[IMAGE]):
        expected = cache(data, patch_size=patch_size).gather(range(3), generator())[IMAGE][i]
        assert torch.equal(entry, expected)


def test_slices_need_host_memory_on_their_way_to_the_device(tmp_path):
    budgets = {"device_budget_gb": 1, "host_budget_gb": 0}
    assert cache(volumes(4), tmp_path, **budgets).storage == "disk"
    assert cache(volumes(4), tmp_path, patch_size=(4, 4, 4), **budgets).storage == "device"


def test_memory_holds_float16_images_and_uint8_labels():
    stacked = cache(volumes(4, 4))._stacked
    assert [part.dtype for part in stacked] == [torch.float16, torch.uint8]
    assert sum(part.nbytes for part in stacked) == 2 * 6 * 5 * 4 * (2 * 2 + 1)


class Counted:
    """A transform that counts how often it is used."""

    calls = 0

    def __init__(self, offset=0):
        self.offset = offset

    def __call__(self, item):
        Counted.calls += 1
        return item | {IMAGE: item[IMAGE] + self.offset}


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("patch_size", [None, (4, 5, 2)], ids=["2d", "3d"])
def test_the_transforms_run_when_the_set_is_made_and_never_again(storage, patch_size, tmp_path):
    dataset = cache(volumes(3, 3), tmp_path, storage, transform=Counted(), patch_size=patch_size)
    before = Counted.calls
    for _ in range(3):
        dataset.gather([0, 1], generator())
    assert Counted.calls == before


def test_the_disk_is_used_again_until_the_transforms_change(tmp_path):
    data = volumes(3, 3)
    cache(data, tmp_path, "disk", transform=Counted())
    before = Counted.calls
    cache(data, tmp_path, "disk", transform=Counted())
    assert Counted.calls == before + 1  # the first item, which exceeds the budgets
    changed = cache(data, tmp_path, "disk", transform=Counted(offset=8))
    assert torch.equal(changed[0][IMAGE], data[0][IMAGE][..., 0] + 8)


def write(path, value, seconds):
    np.save(path, np.full((1, 6, 5, 2), value, dtype=np.uint8))
    os.utime(path, (seconds, seconds))  # size and path stay as they were


@pytest.mark.parametrize("rewritten", [IMAGE, LABEL])
@pytest.mark.parametrize("as_list", [False, True], ids=["one_file", "list"])
def test_a_file_that_was_rewritten_is_read_anew(rewritten, as_list, tmp_path):
    paths = {key: str(tmp_path / f"{key}.npy") for key in (IMAGE, LABEL)}
    for path in paths.values():
        write(path, 1, seconds=1000)
    item = paths | {IMAGE: [paths[IMAGE]] if as_list else paths[IMAGE]}
    load = LoadImaged([IMAGE, LABEL])
    assert cache([item], tmp_path / "cache", "disk", transform=load)[0][rewritten].unique().tolist() == [1]
    write(paths[rewritten], 2, seconds=1001)
    assert cache([item], tmp_path / "cache", "disk", transform=load)[0][rewritten].unique().tolist() == [2]


@pytest.mark.parametrize("key", [IMAGE, LABEL])
def test_voxels_beside_a_header_that_were_rewritten_change_the_state_of_the_item(key, tmp_path):
    item = {name: str(tmp_path / f"{name}.mhd") for name in (IMAGE, LABEL)}
    for name in (IMAGE, LABEL):
        Path(item[name]).write_text(f"ElementDataFile = {name}.raw\n")
        (tmp_path / f"{name}.raw").write_bytes(b"12345678")
    before = file_states(item)
    assert file_states(item) == before
    os.utime(tmp_path / f"{key}.raw", (1000, 1000))
    assert file_states(item) != before


def test_chains_with_equal_parameters_have_one_name():
    chains = [Compose([ScaleIntensityd(IMAGE, maxv=v), Counted()]) for v in (1, 1, 2)]
    a, b, c = (content_hash([cache(volumes(1), transform=chain)._read]) for chain in chains)
    assert a == b != c


def test_what_cannot_be_pickled_is_read_anew(tmp_path):
    data = volumes(2)
    for offset in (1, 2):
        dataset = cache(
            data, tmp_path, "disk", transform=lambda item, o=offset: item | {IMAGE: item[IMAGE] + o}
        )
        assert torch.equal(dataset[0][IMAGE], data[0][IMAGE][..., 0] + offset)


def test_a_patch_lies_inside_its_volume_and_image_and_label_match():
    item = volume(9, 8, 7, seed=0, modalities=1)
    item[LABEL] = torch.arange(9 * 8 * 7).view(1, 9, 8, 7) % 251
    item[IMAGE] = item[LABEL].float()
    dataset, g = cache([item], patch_size=(4, 8, 5)), generator()
    assert len(dataset) == 1
    found = set()
    for _ in range(60):
        batch = dataset.gather([0, 0], g)
        assert batch[IMAGE].shape == (2, 1, 4, 8, 5)
        assert torch.equal(batch[IMAGE], batch[LABEL].float())
        found |= set(batch[LABEL][:, 0, 0, 0, 0].tolist())
    corners = {int(item[LABEL][0, i, 0, k]) for i in range(6) for k in range(3)}
    assert found == corners  # every place where the patch fits, and no other


def test_a_volume_smaller_than_the_patch_is_padded_with_0_and_unlabeled():
    item = volume(3, 8, 4, seed=0)
    batch = cache([item], patch_size=(6, 8, 5)).gather([0], generator())
    inside = (slice(None), slice(None), slice(1, 4), slice(None), slice(0, 4))
    assert torch.equal(batch[IMAGE][inside][0], item[IMAGE])
    assert torch.equal(batch[LABEL][inside][0], item[LABEL])
    assert batch[IMAGE].count_nonzero() == item[IMAGE].count_nonzero()
    assert (batch[LABEL] == UNLABELED).sum() == (6 * 8 * 5) - (3 * 8 * 4)


def test_patches_follow_the_generator():
    dataset = cache(volumes(12), patch_size=(3, 3, 3))
    first, again, other = (dataset.gather([0] * 4, generator(seed))[IMAGE] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


BOTH = pytest.mark.parametrize("patch_size", [None, (4, 5, 2)], ids=["2d", "3d"])


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_a_volume_is_what_the_transforms_gave(patch_size, storage, tmp_path):
    data = volumes(3, 1, 4) if patch_size is None else volumes(3, 2, 4)
    dataset = cache(data, tmp_path, storage, patch_size=patch_size)
    for index, item in enumerate(data):
        image, label = dataset.volume(index)
        assert (image.dtype, label.dtype) == (torch.float16, torch.uint8)
        assert torch.equal(image.float(), item[IMAGE]) and torch.equal(label.long(), item[LABEL])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_batches_have_the_label_that_replaced_another_and_nothing_else_changes(
    patch_size, storage, dtype, tmp_path
):
    data, changed = volumes(3, 2, 4), volumes(3, 2, 4)
    changed[1][LABEL] = (changed[1][LABEL] + 1) % 4
    dataset = cache(data, tmp_path, storage, patch_size=patch_size)
    label = changed[1][LABEL].to(dtype, copy=True)
    dataset.replace_label(1, label)
    label.zero_()  # which was a copy
    wanted = cache(changed, patch_size=patch_size)
    entries = [*range(len(dataset)), 0, 1]
    found = dataset.gather(entries, generator(5))
    assert all(torch.equal(value, found[key]) for key, value in wanted.gather(entries, generator(5)).items())
    assert all(torch.equal(dataset.volume(i)[1], wanted.volume(i)[1]) for i in range(3))
    assert torch.equal(data[1][LABEL], volumes(3, 2, 4)[1][LABEL])


@pytest.mark.parametrize("storage", STORAGES)
@BOTH
def test_a_label_can_be_replaced_again(patch_size, storage, tmp_path):
    dataset = cache(volumes(3, 4), tmp_path, storage, patch_size=patch_size)
    for value in (3, UNLABELED, 0):
        dataset.replace_label(1, torch.full((1, 6, 5, 4), value))
        assert (dataset.volume(1)[1] == value).all()
        assert (dataset[len(dataset) - 1][LABEL] == value).all()


@pytest.mark.parametrize("storage", STORAGES)
def test_a_label_of_another_shape_is_refused(storage, tmp_path):
    dataset = cache(volumes(3, 4), tmp_path, storage)
    with pytest.raises(ValueError, match=r"a label \(1, 6, 5, 3\) for item 0, got \(1, 6, 5, 4\); pass the"):
        dataset.replace_label(0, torch.zeros(1, 6, 5, 4))


def test_transforms_do_not_run_again_when_labels_on_disk_are_replaced(tmp_path):
    dataset = cache(volumes(3, 3), tmp_path, "disk", transform=Counted())
    before = Counted.calls
    dataset.replace_label(0, torch.zeros(1, 6, 5, 3))
    assert (dataset.volume(0)[1] == 0).all() and Counted.calls == before


@pytest.mark.parametrize("storage", STORAGES)
def test_an_item_without_label_is_unlabeled(storage, tmp_path):
    data = volumes(2, 2)
    del data[1][LABEL]
    batch = cache(data, tmp_path, storage).gather([1, 2, 3], generator())
    assert (batch[LABEL][1:] == UNLABELED).all() and (batch[LABEL][0] < 4).all()


def test_supervision_is_full_where_nothing_is_said():
    data = volumes(1, 2, 1)
    data[1][SUPERVISION], data[2][SUPERVISION] = "partial", Supervision.NONE
    dataset = cache(data)
    codes = [Supervision(kind).code for kind in ("full", "partial", "partial", "none")]
    assert dataset.kind_codes.tolist() == codes
    assert dataset.gather([3, 0], generator())[SUPERVISION].tolist() == [codes[3], codes[0]]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_batch_has_the_tags_of_its_slices(storage, tmp_path):
    data = volumes(2, 1, 3)
    data[0][TAGS], data[2][TAGS] = [[0, 1], [1, 1]], [[1, 0, 0], [0, 0, 1]]
    dataset = cache(data, tmp_path, storage)
    expected = [(0, 1), (1, 1), (UNLABELED, UNLABELED), (1, 0), (0, 0), (0, 1)]
    tags = dataset.gather([5, 2, 0, 0], generator())[TAGS]
    assert tags.dtype == torch.int64
    assert list(map(tuple, tags.tolist())) == [expected[i] for i in (5, 2, 0, 0)]
    assert list(map(tuple, dataset.tags.tolist())) == expected
    assert dataset[1][TAGS].tolist() == [1, 1]


@pytest.mark.parametrize("storage", STORAGES)
def test_tags_are_those_that_the_transforms_leave(storage, tmp_path):
    data = volumes(2, 3)
    data[0][TAGS], data[1][TAGS] = [[0, 1]], [[1, 0, 0]]
    dataset = cache(data, tmp_path, storage, transform=reversed_slices)
    assert dataset.tags.flatten().tolist() == [1, 0, 0, 0, 1]


def test_a_set_without_tags_has_none_in_its_batches():
    dataset = cache(volumes(2))
    assert dataset.tags is None and TAGS not in dataset.gather([0], generator())


def test_tags_are_refused_for_patches():
    data = volumes(4)
    data[0][TAGS] = [[0, 1, 0, 1]]
    with pytest.raises(
        ValueError, match=r"no tags together with patch_size, got tags and patch_size \(4, 5, 2\)"
    ):
        cache(data, patch_size=(4, 5, 2))


def test_says_that_the_transforms_changed_the_number_of_slices():
    data = volumes(4)
    data[0][TAGS] = [[0, 1, 0, 1]]
    with pytest.raises(ValueError, match=r"Expected 2 tags of each class, .* got \[4\] for "):
        cache(data, transform=lambda item: item | {key: item[key][..., ::2] for key in (IMAGE, LABEL)})


def test_without_items_it_is_empty_and_its_batches_are_refused():
    cache = DeviceCache([], transform=lambda item: item, progress=False)
    assert len(cache) == 0 and cache.tags is None
    with pytest.raises(InputError, match="at least one training item, got none; see the datalist"):
        next(iter(BatchLoader(cache, batch_size=2, mixture={"full": 1})))


@pytest.mark.parametrize("storage", STORAGES)
def test_says_which_slice_sizes_do_not_stack(storage, tmp_path):
    data = volumes(2) + volumes(2, space=(6, 7))
    with pytest.raises(ValueError, match=r"slices of one size, got \[\(2, 6, 5\), \(2, 6, 7\)\]; resize"):
        cache(data, tmp_path, storage)


def test_volumes_of_different_size_are_fine_for_patches():
    data = volumes(4) + volumes(5, space=(7, 9))
    assert cache(data, patch_size=(4, 4, 4)).gather([0, 1], generator())[IMAGE].shape == (2, 2, 4, 4, 4)


def test_says_that_image_and_label_differ_in_size():
    item = volume(6, 5, 3, seed=0) | {LABEL: torch.zeros(1, 6, 4, 3)}
    with pytest.raises(
        ValueError, match=r"(?s)equal size .* got \(2, 6, 5, 3\) and \(1, 6, 4, 3\) .* resize both"
    ):
        cache([item])


@pytest.mark.parametrize("value", [70_000, -70_000, math.nan, math.inf])
def test_says_which_image_float16_cannot_hold(value):
    item = {IMAGE: "scan.nii.gz", LABEL: torch.zeros(1, 2, 2, 2)}
    with pytest.raises(ValueError, match=r"at most 65504 .* got (70000|nan|inf) in scan.nii.gz; scale them"):
        cache([item], transform=lambda item: item | {IMAGE: torch.full((1, 2, 2, 2), value)})


def test_the_largest_float16_is_fine():
    item = {IMAGE: torch.full((1, 2, 2, 2), 65504), LABEL: torch.zeros(1, 2, 2, 2)}
    assert (cache([item])[0][IMAGE] == 65504).all()


def test_says_that_a_folder_is_needed():
    with pytest.raises(ValueError, match="Expected cache_dir, since the training set exceeds both"):
        cache(volumes(2), None, "disk")
