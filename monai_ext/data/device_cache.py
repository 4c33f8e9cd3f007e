"""A training set that is preprocessed once and kept where it is used."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from monai.data import PersistentDataset
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_ext.data.free_memory import GIGABYTE, HOST, free_gb
from monai_ext.data.reader import Reader, content_hash, file_states
from monai_ext.datalist.tags import tags_of_slices
from monai_ext.errors import InputError
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, TAGS, UNLABELED, Supervision

logger = logging.getLogger(__name__)

Stored = tuple[Tensor, Tensor, Any]
"""Image (M, *S), label (1, *S), and the tags of the slices or None."""


class DeviceCache(Dataset):
    """Preprocessed volumes on the training device; a batch of slices or patches is an index gather.

    The deterministic transforms run once per item. What they give is kept as float16 images and uint8 labels
    on ``device`` if it fits into the budget, else in host memory, else on disk (by MONAI's
    ``PersistentDataset``, anew where an item, its files or the transforms changed); a log line says which and
    why. It shows while reading: what is loaded moves on when a budget is exceeded. An entry of the set is one
    slice (2D networks) or one volume, of which every batch takes another random patch (3D networks).

    ``kind_codes`` (N,) holds the kind of supervision of each entry, ``tags`` (N, K - 1) the tags of each
    slice, ``UNLABELED`` where the item has none; it is None if no item has tags.

    Args:
        data: items with ``image``, optionally ``label``, ``supervision`` ("full" where it is missing) and,
            for 2D networks, ``tags``: K - 1 lists, one for each foreground class, of 1 or 0 for each slice.
        transform: deterministic transforms that end in an image (M, *S) and a label (1, *S). Where items have
            tags, the slices along the last axis must stay as many as they were, in their order.
        device: where batches are wanted.
        patch_size: None for 2D networks: entries are the slices along the last axis, all of equal size.
            Three sizes in voxels for 3D networks; smaller volumes are padded, with 255 in labels.
        device_budget_gb: GB that may be kept on ``device``; default ``free_gb``, as for the host. Slices pass
            through host memory on their way to the device, so its budget holds for them as well.
        host_budget_gb: GB that may be kept in host memory, by this process.
        cache_dir: folder of the cache on disk; needed only if neither memory suffices.
        progress: whether to show a progress bar while reading.

    Raises:
        InputError: if an image is not finite in float16, no memory suffices and
            ``cache_dir`` is None, the slices for a 2D network are not all of one size, tags come together
            with ``patch_size``, or an item has another number of tags than slices.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable,
        device: torch.device | str = "cpu",
        patch_size: Sequence[int] | None = None,
        device_budget_gb: float | None = None,
        host_budget_gb: float | None = None,
        cache_dir: str | None = None,
        progress: bool = True,
    ) -> None:
        self.data = [dict(item) for item in data]
        if patch_size is not None and any(item.get(TAGS) is not None for item in self.data):
            raise InputError(
                f"Expected no tags together with patch_size, got tags and patch_size {tuple(patch_size)}; "
                "tags are of whole slices: set patch_size to None or leave the tags out."
            )
        self.device = torch.device(device)
        self.patch_size = None if patch_size is None else tuple(patch_size)
        self.transform = transform
        self._read = Reader(transform)
        self._load(device_budget_gb, host_budget_gb, cache_dir, progress)
        self._index()

    def _load(
        self,
        device_budget_gb: float | None,
        host_budget_gb: float | None,
        cache_dir: str | None,
        progress: bool,
    ) -> None:
        """Read all volumes into the first storage that holds them, and say which it is."""
        on_host = free_gb(HOST) if host_budget_gb is None else host_budget_gb
        on_device = free_gb(self.device) if device_budget_gb is None else device_budget_gb
        if self.patch_size is None:  # slices wait in host memory until they are stacked on the device
            on_device = min(on_device, on_host)
        budgets = f"{on_device:.2f} GB on {self.device}, {on_host:.2f} GB in host memory"
        self._volumes: Sequence[Stored]
        self.storage, self._volumes = self._load_to_memory(on_device, on_host, progress)
        if self.storage == "disk":
            self._volumes = self._open_on_disk(cache_dir, budgets)
        shown = progress and self.storage == "disk"
        volumes = tqdm(self._volumes, desc="caching training set on disk", unit="volume", disable=not shown)
        sizes, self._tags = [], []
        for image, label, tags in volumes:
            sizes.append((tuple(image.shape), image.nbytes + label.nbytes))
            self._tags.append(tags)
        self._shapes = [shape for shape, _ in sizes]
        place, reason = {
            "device": (f"on {self.device}", "it fits"),
            "host": ("in host memory", f"too much for {self.device}"),
            "disk": ("on disk", "too much for memory"),
        }[self.storage]
        logger.info(
            f"training set: {len(self.data)} volumes, {sum(n for _, n in sizes) / GIGABYTE:.2f} GB, "
            f"kept {place}: {reason} (budgets: {budgets})"
        )

    def _load_to_memory(self, on_device: float, on_host: float, progress: bool) -> tuple[str, list[Stored]]:
        """Read to the device; move to host memory, then give up for the disk, as the budgets are exceeded."""
        place = HOST if self.patch_size is None else self.device
        storage, used = "device", 0
        volumes: list[Stored] = []
        for item in tqdm(self.data, desc="reading training set", unit="volume", disable=not progress):
            image, label, tags = self._read(item)
            used += image.nbytes + label.nbytes
            need = used / GIGABYTE
            if need > on_device and storage == "device":
                storage, place = "host", HOST
                volumes = [(i.to(place), k.to(place), t) for i, k, t in volumes]
            if need > on_host and storage == "host":
                return "disk", []
            volumes.append((image.to(place), label.to(place), tags))
        return storage, volumes

    def _open_on_disk(self, cache_dir: str | None, budgets: str) -> Any:
        """The set as MONAI keeps it on disk, under names that change with items, files and transforms."""
        if cache_dir is None:
            raise InputError(
                "Expected cache_dir, since the training set exceeds both memory budgets "
                f"({budgets}), got None; name a folder."
            )
        known = [{**item, "files": file_states(item)} for item in self.data]
        return PersistentDataset(known, self._read, cache_dir, hash_transform=content_hash)

    def _index(self) -> None:
        """Make the table of entries, and stack the slices if they are in memory."""
        self._stacked: tuple[Tensor, Tensor] | None = None
        self._replaced: dict[int, Tensor] = {}
        depths = [1 if self.patch_size else shape[-1] for shape in self._shapes]
        self._rows = [slice(*ends) for ends in pairwise(accumulate(depths, initial=0))]
        self._entries = [(v, z) for v, depth in enumerate(depths) for z in range(depth)]
        kinds = torch.tensor(
            [Supervision(item.get(SUPERVISION, Supervision.FULL)).code for item in self.data]
        )
        self.kind_codes = kinds[[v for v, _ in self._entries]]
        tagged = [{**item, TAGS: tags} for item, tags in zip(self.data, self._tags, strict=True)]
        self.tags = tags_of_slices(tagged, depths)
        if self.patch_size is not None:
            return
        sizes = {shape[:-1] for shape in self._shapes}
        if len(sizes) > 1:
            raise InputError(
                f"Expected slices of one size, got {sorted(sizes)}; resize or crop in the transform."
            )
        if self.storage != "disk" and self.data:
            place = self.device if self.storage == "device" else HOST
            images, labels = ([volume[i] for volume in self._volumes] for i in range(2))
            self._volumes = []  # so that `stack_slices` frees each volume once it is copied
            self._stacked = stack_slices(images, place), stack_slices(labels, place)

    def __len__(self) -> int:
        """Number of slices (2D), or of volumes (3D)."""
        return len(self._entries)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One slice, or the first patch of one volume."""
        batch = self.gather([range(len(self))[index]], torch.Generator().manual_seed(0))
        return {key: value[0] for key, value in batch.items()}

    def gather(self, entries: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
        """Make a batch on the device.

        Args:
            entries: B positions in this set.
            generator: CPU generator that places the patches of 3D networks.

        Returns:
            ``image`` (B, M, *S) float32, ``label`` (B, 1, *S) int64, ``supervision`` (B,), kinds as codes,
            and, if any item of the set has tags, ``tags`` (B, K - 1) int64 of each slice, ``UNLABELED`` where
            the item has none.
        """
        where = torch.as_tensor(entries)
        if self._stacked is not None:
            rows = where.to(self._stacked[0].device)
            images, labels = (part[rows] for part in self._stacked)
        else:
            pairs = [self._take(self._entries[i], generator) for i in where.tolist()]
            images, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
        batch = {
            IMAGE: images.to(self.device, non_blocking=True).float(),
            LABEL: labels.to(self.device, non_blocking=True).long(),
            SUPERVISION: self.kind_codes[where].to(self.device, non_blocking=True),
        }
        if self.tags is not None:
            batch[TAGS] = self.tags[where].to(self.device, non_blocking=True)
        return batch

    def volume(self, index: int) -> tuple[Tensor, Tensor]:
        """Image (M, *S) float16 and label (1, *S) uint8 of an item, where they are kept."""
        if self._stacked is not None:
            images, labels = (part[self._rows[index]].movedim(0, -1) for part in self._stacked)
            return images, labels
        image, label, _ = self._volumes[index]
        return image, self._replaced.get(index, label)

    def replace_label(self, index: int, label: Tensor) -> None:
        """Let batches have another label (1, *S) for an item; files stay as they are.

        It lies beside the image, in host memory if that is on disk. InputError for another shape.
        """
        shape, got = (1, *self._shapes[index][1:]), tuple(label.shape)
        if got != shape:
            raise InputError(f"Expected a label {shape} for item {index}, got {got}; pass the whole volume.")
        if self._stacked is not None:
            self._stacked[1][self._rows[index]] = label.movedim(-1, 0).to(self._stacked[1])
        else:
            place = self.device if self.storage == "device" else HOST
            self._replaced[index] = label.to(place, torch.uint8, copy=True)

    def _take(self, entry: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        volume, z = entry
        image, label = self.volume(volume)
        if self.patch_size is None:
            return image[..., z], label[..., z]
        short = [max(0, p - s) for p, s in zip(self.patch_size, image.shape[1:], strict=True)]
        if any(short):
            margins = [m for s in reversed(short) for m in (s // 2, s - s // 2)]
            image, label = pad(image, margins), pad(label, margins, value=UNLABELED)
        where: list[slice] = [slice(None)]
        for size, patch in zip(image.shape[1:], self.patch_size, strict=True):
            start = int(torch.randint(size - patch + 1, (1,), generator=generator))
            where.append(slice(start, start + patch))
        return image[tuple(where)], label[tuple(where)]


def stack_slices(volumes: list[Tensor], device: torch.device) -> Tensor:
    """Stack the slices of volumes (C, H, W, D) to (N, C, H, W) on the device, emptying the list on the way.

    What is in memory at a time is one copy of the data and, on the device, nothing but the result.
    """
    slices = sum(volume.shape[-1] for volume in volumes)
    stacked = torch.empty((slices, *volumes[0].shape[:-1]), dtype=volumes[0].dtype, device=device)
    while volumes:
        volume = volumes.pop().movedim(-1, 0)
        stacked[slices - len(volume) : slices] = volume
        slices -= len(volume)
    return stacked
