"""One training item, read and made compact, and names by which a cache on disk knows that it is outdated."""

import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, Transform, apply_transform
from torch import Tensor

from monai_ext.images.companions import files_of_image
from monai_ext.keys import IMAGE, LABEL, TAGS, UNLABELED


class Reader(Transform):
    """Apply the deterministic transforms to an item and give its compact form: float16 image, uint8 label.

    An item without a label gets one of ``UNLABELED`` voxels only. Its tags, if it has any, come as the
    transforms leave them, which may reverse the slices. A MONAI transform, since ``PersistentDataset`` stores
    the result of nothing else.
    """

    def __init__(self, transform: Callable) -> None:
        self.transform = transform

    def __call__(self, item: Mapping[str, Any]) -> tuple[Tensor, Tensor, Any]:
        done: Any = apply_transform(self.transform, dict(item))
        image = plain(done[IMAGE]).half()
        if not image.isfinite().all():
            largest = float(plain(done[IMAGE]).abs().max())
            raise ValueError(
                f"Expected finite intensities of at most 65504 (float16) after the transforms, got "
                f"{largest:g} in {item[IMAGE]}; scale them in the transforms."
            )
        if LABEL not in done:
            label = torch.full((1, *image.shape[1:]), UNLABELED, dtype=torch.uint8)
            return image, label, done.get(TAGS)
        label = plain(done[LABEL]).round().to(torch.uint8)
        if label.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"Expected image and label of equal size after the transforms, got {tuple(image.shape)} and "
                f"{tuple(label.shape)} for {item[IMAGE]}; resize both."
            )
        return image, label, done.get(TAGS)


def file_states(item: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Size in bytes and time of change of each file of an item, which tell a rewritten file from the old.

    All files of an image count, such as the voxels beside a header.
    """
    values = [item[key] for key in (IMAGE, LABEL) if key in item]
    paths = [path for value in values for path in (value if isinstance(value, list | tuple) else [value])]
    files = [file for path in paths if isinstance(path, str | os.PathLike) for file in files_of_image(path)]
    found = [file.stat() for file in files]
    return [(state.st_size, state.st_mtime_ns) for state in found]


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


def plain(data: Any) -> Tensor:
    """The tensor without MONAI's metadata."""
    return data.as_tensor() if isinstance(data, MetaTensor) else torch.as_tensor(data)
