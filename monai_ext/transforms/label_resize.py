"""Resizing of label maps that may hold very few labeled voxels."""

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from monai_ext.keys import UNLABELED


def resize_label(label: Tensor, size: Sequence[int], num_classes: int) -> Tensor:
    r"""Give each new pixel the class that most of the labeled pixels below it have.

    .. math::

        \tilde y(R) = \arg\max_k \big|\{ r \in R : y(r) = k \}\big|,
        \qquad \tilde y(R) = 255 \text{ if no pixel of } R \text{ is labeled}

    for the rectangle R of old pixels that a new pixel covers; of two classes with equal counts the lower
    wins. A mark of one pixel therefore survives a reduction, where nearest-neighbor sampling would lose three
    of four at half the size.

    Args:
        label: label map (N, H, W), integers below ``num_classes`` or 255.
        size: new height and width in pixels.
        num_classes: K, background included.

    Returns:
        Label map (N, *size) of the same dtype.
    """
    height, width = size
    masks = torch.stack([(label == k).float() for k in range(num_classes)], dim=1)
    share, resized = adaptive_avg_pool2d(masks, (height, width)).max(dim=1)
    return resized.masked_fill(share == 0, UNLABELED).to(label.dtype)


class ResizeLabelSlicesd(MapTransform):
    """Resize every slice of a label volume by majority among its labeled pixels.

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
