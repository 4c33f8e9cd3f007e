"""A 2D network on volumes."""

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_ext.inferers.autocast import AutocastInferer


class SliceBatchInferer(Inferer):
    """Give the slices of a volume to a 2D network, many at a time, and stack what comes back.

    Slices lie along the last axis. MONAI's ``SliceInferer`` does the same through a sliding window of depth
    one; here the depth axis becomes the batch axis, without windows, weights or copies.

    Args:
        batch_size: slices per forward pass, over all volumes of the batch.
        autocast: whether to run in bfloat16; None: where the device computes in it by itself.
        slice_inferer: how a batch of slices is given to the network, such as ``AveragingInferer``; default
            ``AutocastInferer(autocast)``.

    Shape:
        - inputs: :math:`(B, M, H, W, D)`.
        - returns: :math:`(B, *C, H, W, D)` float32, where the network gives :math:`(N, *C, H, W)`.
    """

    def __init__(
        self, batch_size: int = 16, autocast: bool | None = None, slice_inferer: Inferer | None = None
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"Expected batch_size >= 1, got {batch_size}.")
        self.batch_size = batch_size
        self.slice_inferer = slice_inferer or AutocastInferer(autocast)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        if inputs.ndim != 5:
            raise ValueError(f"Expected volumes (B, M, H, W, D), got {tuple(inputs.shape)}.")
        depth = inputs.shape[-1]
        slices = inputs.movedim(-1, 1).flatten(0, 1)  # (B D, M, H, W)
        done = [self.slice_inferer(part, network, *args, **kwargs) for part in slices.split(self.batch_size)]
        return torch.cat(done).unflatten(0, (-1, depth)).movedim(1, -1)
