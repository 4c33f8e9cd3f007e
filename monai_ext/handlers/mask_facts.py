"""What there is to say of a mask: voxels of each class, and what a person should look at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label

from monai_ext.images.transforms import slice_axis

_TOUCHING = np.ones((3, 3, 3))
"""Neighbors in a part: by a face, an edge or a corner."""


class MaskFacts(NamedTuple):
    """Of one mask."""

    voxels: list[int]
    """Of each class but the background."""
    words: list[str]
    """What a person should look at, one text a class; empty if there is nothing."""


def mask_facts(mask: np.ndarray, names: Sequence[str], axes: Sequence[int] = (0, 1, 2)) -> MaskFacts:
    """Count the voxels of each class of a mask, and tell what is unusual.

    That is: no voxel at all, no voxel of a class, several parts of a class (neighbors touch by a face, an
    edge or a corner), and a class that reaches the border of the image, where it may be cut off.

    Args:
        mask: (X, Y, Z), class indices.
        names: of the classes from 1 on.
        axes: those whose first and last position are the border of the image.

    >>> mask_facts(np.eye(3, dtype=int)[:, :, None], ["tumor"], axes=[0])
    MaskFacts(voxels=[3], words=['tumor touches the border of the image'])
    """
    mask = np.asarray(mask).astype(np.int32, copy=False)
    boxes = find_objects(mask, max_label=len(names))
    found, words = [], []
    for value, (name, box) in enumerate(zip(names, boxes, strict=True), start=1):
        part = mask[box] == value if box else np.zeros((0, 0, 0), bool)
        found.append(int(np.count_nonzero(part)))
        if not box:
            words.append(f"no {name}")
            continue
        remarks = []
        if (number := int(label(part, _TOUCHING)[1])) > 1:
            remarks.append(f"has {number} separate parts")
        if any(box[axis].start == 0 or box[axis].stop == mask.shape[axis] for axis in axes):
            remarks.append("touches the border of the image")
        words += [f"{name} {' and '.join(remarks)}"] if remarks else []
    return MaskFacts(found, words if any(found) else ["the mask is empty"])


def border_axes(affine: np.ndarray, shape: Sequence[int], slices: bool) -> list[int]:
    """Axes along which an object may be cut off: all three, or those within a slice.

    >>> border_axes(np.diag([8, 1, 1, 1]), (10, 256, 256), slices=True)
    [1, 2]
    """
    across = slice_axis(np.asarray(affine, dtype=float), shape)
    return [axis for axis in range(3) if not slices or axis != across]
