"""Resizing of label maps that may hold very few labeled voxels."""

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor
from torch.nn.functional import interpolate

from monai_ext.keys import UNLABELED


def resize_label(label: Tensor, size: Sequence[int], num_classes: int) -> Tensor:
    r"""Resize label maps: complete ones smoothly, others mark by mark.

    A complete map (no pixel unlabeled) becomes the class with the largest share under an antialiased bilinear
    filter, so areas are kept. In any other map each labeled pixel goes to the one new pixel R that holds its
    center, and

    .. math::

        \tilde y(R) = \arg\max_k \big|\{ r \in R : y(r) = k \}\big|,
        \qquad \tilde y(R) = 255 \text{ if no center of a labeled pixel lies in } R

    where of two classes with equal counts the lower wins. A mark of one pixel thus stays a mark of one pixel,
    where nearest-neighbor sampling to half the size would lose three of four. An axis that grows is repeated
    instead.

    Args:
        label: label maps (N, H, W), integers below ``num_classes`` or 255.
        size: new height and width in pixels.
        num_classes: K, background included.

    Returns:
        Label maps (N, *size) of the same dtype.
    """
    complete = (label != UNLABELED).flatten(1).all(dim=1)
    resized = torch.empty(len(label), *size, dtype=label.dtype, device=label.device)
    for rows, resize in ((complete, resize_complete), (~complete, resize_marks)):
        if rows.any():
            resized[rows] = resize(label[rows], size, num_classes).to(label.dtype)
    return resized


def resize_complete(label: Tensor, size: Sequence[int], num_classes: int) -> Tensor:
    """The class with the largest share in every new pixel."""
    shares = torch.stack([label == k for k in range(num_classes)], dim=1).float()
    return interpolate(shares, tuple(size), mode="bilinear", antialias=True).argmax(dim=1)


def resize_marks(label: Tensor, size: Sequence[int], num_classes: int) -> Tensor:
    """The most frequent class of the labeled pixels whose center lies in a new pixel, else 255."""
    for dim, new in enumerate(size, start=1):
        if new > label.shape[dim]:  # repeat before counting
            label = label.index_select(dim, new_positions(new, label.shape[dim]).to(label.device))
    n, y, x = (label != UNLABELED).nonzero(as_tuple=True)
    rows, columns = (
        new_positions(old, new).to(label.device) for old, new in zip(label.shape[1:], size, strict=True)
    )
    counts = torch.zeros(num_classes, len(label), *size, device=label.device)
    counts.index_put_(
        (label[n, y, x].long(), n, rows[y], columns[x]), counts.new_ones(len(n)), accumulate=True
    )
    most, resized = counts.max(dim=0)
    return resized.masked_fill(most == 0, UNLABELED)


def new_positions(old: int, new: int) -> Tensor:
    """Index of the new pixel that holds the center of each of ``old`` pixels."""
    return ((torch.arange(old) + 0.5) * new / old).long()


class ResizeLabelSlicesd(MapTransform):
    """Resize every slice of a label volume; see ``resize_label``.

    Not random, not invertible: training labels go to the network's grid, validation labels stay on their own.

    Args:
        keys: keys of label volumes (1, H, W, D); slices lie along the last axis. Dtype is kept.
        spatial_size: new height and width in pixels.
        num_classes: K, background included.
        allow_missing_keys: whether an item may lack the keys, as one without labels does.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int],
        num_classes: int,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spatial_size = tuple(spatial_size)
        self.num_classes = num_classes

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            volume = torch.as_tensor(result[key])
            if isinstance(volume, MetaTensor):
                volume = volume.as_tensor()
            slices = resize_label(volume[0].movedim(-1, 0), self.spatial_size, self.num_classes)
            result[key] = slices.movedim(0, -1)[None]
        return result
