"""Two networks of the same kind side by side."""

import torch
from torch import Tensor, nn


class TwinNetwork(nn.Module):
    r"""Give an image to two independent networks; nothing is shared.

    For methods in which two networks that were initialized differently teach each other, see
    ``monai_ext.losses.CoTeachingLoss``.

    Args:
        first: :math:`(B, M, *S) \to (B, K, *S)`.
        second: likewise.

    Shape:
        - image: :math:`(B, M, *S)`.
        - returns: :math:`(B, 2, K, *S)`, logits of both.

    Raises:
        ValueError: if both are one and the same network.

    Example:
        >>> TwinNetwork(nn.Conv2d(1, 3, 1), nn.Conv2d(1, 3, 1))(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 2, 3, 8, 8])
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        if first is second:
            raise ValueError("Expected two networks, got the same one twice; define the second by itself.")
        self.first = first
        self.second = second

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack((self.first(image), self.second(image)), dim=1)
