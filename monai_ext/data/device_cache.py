"""A training set that is preprocessed once and kept where it is used."""

import logging
import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, Transform, apply_transform
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_ext.keys import IMAGE, LABEL, SUPERVISION, UNLABELED, Supervision

logger = logging.getLogger(__name__)

GIGABYTE = 1e9


class DeviceCache(Dataset):
    """Preprocessed volumes on the training device; a batch of slices or patches is an index gather.

    The deterministic transforms run once per item. What they give is kept as float16 images and uint8 labels
    on ``device`` if it fits into the budget, else in host memory, else on disk (by MONAI's
    ``PersistentDataset``); a log line says which and why. An entry of the set is one slice (2D networks) or
    one volume, of which every batch takes another random patch (3D networks).

    Args:
        data: items with ``image``, optionally ``label`` and ``supervision`` ("full" where it is missing).
        transform: deterministic transforms that end in an image (M, *S) and a label (1, *S).
        device: where batches are wanted.
        patch_size: None for 2D networks: entries are the slices along the last axis, all of equal size.
            Three sizes in voxels for 3D networks; smaller volumes are padded, with 255 in labels.
        device_budget_gb: GB that may be kept on ``device``; default ``free_gb``, as for the host.
        host_budget_gb: GB that may be kept in host memory.
        cache_dir: folder of the cache on disk; needed only if neither memory suffices.
        progress: whether to show a progress bar while reading.

    Raises:
        ValueError: if ``data`` is empty, no memory suffices and ``cache_dir`` is None, or the slices for a 2D
            network are not all of one size.
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
        if not data:
            raise ValueError(
                "Expected at least one training item, got none; see the datalist's 'training' list."
            )
        self.data = [dict(item) for item in data]
        self.device = torch.device(device)
        self.patch_size = None if patch_size is None else tuple(patch_size)
        self._read = Reader(transform)
        self.storage = self._choose_storage(device_budget_gb, host_budget_gb)
        self._volumes = self._load_volumes(cache_dir, progress)
        self._index()

    def _choose_storage(self, device_budget_gb: float | None, host_budget_gb: float | None) -> str:
        image, label = self._read(self.data[0])
        need = len(self.data) * (image.nbytes + label.nbytes) / GIGABYTE
        on_device = free_gb(self.device) if device_budget_gb is None else device_budget_gb
        on_host = free_gb(torch.device("cpu")) if host_budget_gb is None else host_budget_gb
        storage = "device" if need <= on_device else "host" if need <= on_host else "disk"
        place = {"device": str(self.device), "host": "host memory", "disk": "disk"}[storage]
        logger.info(
            f"training set: {len(self.data)} volumes, about {need:.2f} GB, kept on {place} "
            f"(budgets: {on_device:.2f} GB on {self.device}, {on_host:.2f} GB in host memory)"
        )
        return storage

    def _load_volumes(self, cache_dir: str | None, progress: bool) -> Sequence[tuple[Tensor, Tensor]]:
        source: Any = self.data
        if self.storage == "disk":
            if cache_dir is None:
                raise ValueError(
                    "Expected cache_dir, since the training set exceeds both memory budgets, got None."
                )
            source = PersistentDataset(self.data, self._read, cache_dir, hash_transform=content_hash)
        place = self.device if self.storage == "device" and self.patch_size else torch.device("cpu")
        self._shapes: list[tuple[int, ...]] = []
        volumes = []
        for item in tqdm(source, desc="reading training set", unit="volume", disable=not progress):
            image, label = item if self.storage == "disk" else self._read(item)
            self._shapes.append(tuple(image.shape))
            if self.storage != "disk":
                volumes.append((image.to(place), label.to(place)))
        return source if self.storage == "disk" else volumes

    def _index(self) -> None:
        """Make the table of entries, and stack the slices if they are in memory."""
        self._stacked: tuple[Tensor, Tensor] | None = None
        depths = [1 if self.patch_size else shape[-1] for shape in self._shapes]
        self._entries = [(v, z) for v, depth in enumerate(depths) for z in range(depth)]
        kinds = torch.tensor(
            [Supervision(item.get(SUPERVISION, Supervision.FULL)).code for item in self.data]
        )
        self.kind_codes = kinds[[v for v, _ in self._entries]]
        if self.patch_size is not None:
            return
        sizes = {shape[:-1] for shape in self._shapes}
        if len(sizes) > 1:
            raise ValueError(
                f"Expected slices of one size, got {sorted(sizes)}; resize or crop in the transform."
            )
        if self.storage != "disk":
            place = self.device if self.storage == "device" else torch.device("cpu")
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
            ``image`` (B, M, *S) float32, ``label`` (B, 1, *S) int64 and ``supervision`` (B,), kinds as codes.
        """
        where = torch.as_tensor(entries)
        if self._stacked is not None:
            rows = where.to(self._stacked[0].device)
            images, labels = (part[rows] for part in self._stacked)
        else:
            pairs = [self._take(self._entries[i], generator) for i in where.tolist()]
            images, labels = (torch.stack(part) for part in zip(*pairs, strict=True))
        return {
            IMAGE: images.to(self.device, non_blocking=True).float(),
            LABEL: labels.to(self.device, non_blocking=True).long(),
            SUPERVISION: self.kind_codes[where].to(self.device, non_blocking=True),
        }

    def _take(self, entry: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        volume, z = entry
        image, label = self._volumes[volume]
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


class Reader(Transform):
    """Apply the deterministic transforms to an item and give its compact form: float16 image, uint8 label.

    An item without a label gets one of ``UNLABELED`` voxels only. A MONAI transform, since
    ``PersistentDataset`` stores the result of nothing else.
    """

    def __init__(self, transform: Callable) -> None:
        self.transform = transform

    def __call__(self, item: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        done: Any = apply_transform(self.transform, dict(item))
        image = plain(done[IMAGE]).half()
        if LABEL not in done:
            return image, torch.full((1, *image.shape[1:]), UNLABELED, dtype=torch.uint8)
        label = plain(done[LABEL]).to(torch.uint8)
        if label.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"Expected image and label of equal size after the transforms, got {tuple(image.shape)} and "
                f"{tuple(label.shape)} for {item[IMAGE]}; resize both."
            )
        return image, label


def content_hash(readers: Sequence[Reader]) -> bytes:
    """Name for what the transforms are, so that ``PersistentDataset`` reads anew after they were changed.

    A ``Compose`` is taken apart, because it holds a random state of its own. Transforms that cannot be
    pickled, such as a lambda, get another name in every run.
    """
    steps = [r.transform.flatten().transforms if isinstance(r.transform, Compose) else r for r in readers]
    try:
        return pickle_hashing(steps)
    except (AttributeError, TypeError, pickle.PicklingError):
        return uuid.uuid4().hex.encode()


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


def plain(data: Any) -> Tensor:
    """The tensor without MONAI's metadata."""
    return data.as_tensor() if isinstance(data, MetaTensor) else torch.as_tensor(data)


def free_gb(device: torch.device) -> float:
    """GB that a cache may take on the device: 60 % of a GPU's free memory, half of the machine's memory."""
    if device.type == "cuda":
        return 0.6 * torch.cuda.mem_get_info(device)[0] / GIGABYTE
    if not hasattr(os, "sysconf"):
        return 4.0
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
