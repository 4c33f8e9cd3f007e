"""Images brought to the orientation that a network was trained in, and their masks back."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import ImageMetaKey, TraceKeys
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from torch import Tensor

from monai_ext.errors import InputError
from monai_ext.images.grids import AFFINE_TOLERANCE, Grid, affine_difference
from monai_ext.images.reader import ORIENTED
from monai_ext.keys import CASE, TAGS

TIE = 0.01
"""Spacings that differ by no more than this share are equal."""


def slice_axis(affine: np.ndarray, shape: Sequence[int]) -> int:
    """The stored axis across which slices are cut: the one with the largest spacing, the third on a tie.

    An axis of one voxel comes first, since its spacing often means nothing.

    >>> slice_axis(np.diag([8.0, 1.4, 1.4, 1.0]), (10, 256, 256))
    0
    >>> slice_axis(np.diag([1.4, 1.4, 1.0, 1.0]), (256, 256, 1))
    2
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if list(shape).count(1) == 1:
        return list(shape).index(1)
    return 2 if spacing[2] >= (1 - TIE) * spacing.max() else int(spacing.argmax())


class OrientSlicesd(MapTransform, InvertibleTransform):
    """Turn and flip an image, by its affine, so that its axes point where those of the training images did.

    For 2D networks the axis across which slices are cut (see ``slice_axis``) goes last, and the two others
    keep the order that they have in ``axcodes``; all directions are those of ``axcodes``. Voxels are moved,
    never interpolated; an image that lies so already stays as it is. Where the slices of an image are
    reversed, so are the ``tags`` of its item, which are one for each stored slice.

    The first key decides, and all others are moved as it is: they lie on its grid, and one without an affine
    takes that of the first. If the first has no affine, as an array may that a tool hands over, it counts as
    lying so already. An array of three axes gets an axis of channels. float32. Not random, invertible.

    Args:
        keys: keys of images and label maps (C, X, Y, Z), that of the image first.
        axcodes: where the axes of the training images point to, such as "LPS".
        slices: whether the network takes slices; else the axes are in the order of ``axcodes``.
        allow_missing_keys: whether an item may lack the keys.

    Raises:
        ValueError: if ``axcodes`` are none.
        InputError: if an item has tags and its slices are not cut across the last stored axis, or a key has
            another shape or affine than the first.
    """

    def __init__(
        self, keys: KeysCollection, axcodes: str, slices: bool = True, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if sorted(min(pair) for pair in ("LR", "PA", "IS") for code in axcodes if code in pair) != [
            "A",
            "I",
            "L",
        ]:
            raise ValueError(
                f'Expected one of L and R, P and A, I and S each, such as "LPS", got {axcodes!r}.'
            )
        self.axcodes = axcodes
        self.slices = slices

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        images = {key: as_image(result[key]) for key in self.key_iterator(result)}
        if not images:
            return result
        (first, standard), *others = images.items()
        for key, image in others:
            _put_on_grid(key, image, first, standard)
        moves = self._moves(standard)
        for key, image in images.items():
            self.push_transform(image, extra_info={"moves": moves.tolist()})
            result[key] = moved(image, moves)
        if result.get(TAGS) is not None:
            result[TAGS] = self._tags(result, moves)
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = MetaTensor(result[key].as_tensor()).copy_meta_from(result[key])
            done = self.pop_transform(image)
            moves = np.array(done[TraceKeys.EXTRA_INFO]["moves"])
            back = np.empty_like(moves)
            back[moves[:, 0]] = [[axis, direction] for axis, (_, direction) in enumerate(moves)]
            result[key] = moved(image, back)
        return result

    def _moves(self, image: MetaTensor) -> np.ndarray:
        """Where each stored axis goes and in which direction, (3, 2), as nibabel writes it."""
        if not _has_affine(image):
            return np.array([[0, 1], [1, 1], [2, 1]])
        affine = image.affine.numpy().astype(float)
        if not image.meta.get(ORIENTED, 1):
            return _slices_last(slice_axis(affine, image.shape[1:]) if self.slices else 2)
        stored = nib.orientations.io_orientation(affine)
        codes = list(self.axcodes)
        if self.slices:
            across = int(stored[slice_axis(affine, image.shape[1:]), 0])
            code = next(c for c in codes if c in ("LR", "PA", "IS")[across])
            codes = [c for c in codes if c != code] + [code]
        return ornt_transform(stored, axcodes2ornt(codes)).astype(int)

    def _tags(self, item: Mapping[Hashable, Any], moves: np.ndarray) -> Any:
        """The tags in the order in which the slices are now."""
        if moves[2, 0] != 2:
            raise InputError(
                f"case {item.get(CASE, '')}: Expected tags of the slices along the last axis, got an image "
                f"whose largest spacing is along axis {int(moves[:, 0].argmax())} (from 0); "
                "store it with its slices along the last axis, or leave the case out."
            )
        tags = item[TAGS]
        if moves[2, 1] > 0:
            return tags
        return tags.flip(-1) if isinstance(tags, Tensor) else [list(row)[::-1] for row in tags]


def _slices_last(across: int) -> np.ndarray:
    """The moves that bring one axis to the end and leave everything else as it is."""
    order = [axis for axis in range(3) if axis != across] + [across]
    return np.array([[order.index(axis), 1] for axis in range(3)])


def moved(image: MetaTensor, moves: np.ndarray) -> MetaTensor:
    """An image (C, X, Y, Z) with its stored axes elsewhere, and its affine to match."""
    flips = [axis + 1 for axis, (_, direction) in enumerate(moves) if direction < 0]
    order = [0, *(np.argsort(moves[:, 0]) + 1).tolist()]
    if not flips and order == [0, 1, 2, 3]:
        return image
    voxels = image.as_tensor()
    voxels = (voxels.flip(flips) if flips else voxels).permute(order).contiguous()
    affine = image.affine @ torch.as_tensor(inv_ornt_aff(moves, image.shape[1:])).to(image.affine)
    result: MetaTensor = MetaTensor(voxels).copy_meta_from(image)
    result.affine = affine
    return result


def as_image(data: Any) -> MetaTensor:
    """An image (C, X, Y, Z) in float32 of what ``LoadImaged`` gives, or of what a tool hands over.

    Its voxels may be shared with ``data``, its meta and list of transforms are not.
    """
    voxels = data.as_tensor() if isinstance(data, MetaTensor) else torch.as_tensor(data)
    voxels = voxels[None] if voxels.ndim == 3 else voxels
    image: MetaTensor = MetaTensor(voxels.float())
    return image.copy_meta_from(data) if isinstance(data, MetaTensor) else image


def _put_on_grid(key: Hashable, image: MetaTensor, first: Hashable, standard: MetaTensor) -> None:
    """Check that an image lies on the grid of the first; without an affine, it is given that of the first."""
    name = f"{key} {image.meta.get(ImageMetaKey.FILENAME_OR_OBJ, '')}".rstrip()
    if image.shape[1:] != standard.shape[1:]:
        raise InputError(
            f"{name}: Expected the shape {tuple(standard.shape[1:])} of {first}, got "
            f"{tuple(image.shape[1:])}; resample both onto one grid or correct the pairing."
        )
    if not _has_affine(standard):
        return
    if not _has_affine(image):
        image.affine = standard.affine.clone()
        return
    given, wanted = (
        Grid(Path(name), tuple(i.shape[1:]), i.affine.numpy().astype(float)) for i in (image, standard)
    )
    if difference := affine_difference(given, wanted):
        raise InputError(
            f"{name}: Expected the affine of {first}, got another {difference} "
            f"(tolerance {AFFINE_TOLERANCE:g} voxel); resample both onto one grid or correct the header."
        )


def _has_affine(image: MetaTensor) -> bool:
    """Whether somebody said where the voxels lie: MONAI gives every other array the identity."""
    return "original_affine" in image.meta or not torch.equal(image.affine, torch.eye(4).to(image.affine))
