"""Networks that say what is in an image by maps that show where: one for each modality."""

import torch
from monai.networks.blocks import UnetBasicBlock, UnetResBlock
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_ext.cams import CLASSES


class CamNet(nn.Module):
    """Encoder of one modality whose last, linear layer gives a score map for each class.

    Levels that halve the resolution follow each other until maps have the resolution of ``map_stride``;
    further levels, if any, are brought back to it by a decoder with skip connections, as in a U-Net. Without
    them a score depends on a neighborhood of the pixel only, so the map cannot point at what merely
    accompanies the object.

    Args:
        channels: widths of the levels, from the finest. The first level works at half the resolution of the
            image, or at full resolution if ``map_stride`` is 1.
        map_stride: pixels of the image for one of the maps, along each axis; 1, 2, 4, ... at most as many
            levels.
        refinements: further blocks at the resolution of the maps.
        residual: residual blocks instead of plain ones.
        dropout: probability that a feature channel is left out before the last layer.

    Shape:
        - image: :math:`(B, 1, H, W)`, H and W divisible by 2 to the power of the levels.
        - returns: :math:`(B, K, H / s, W / s)` with s the ``map_stride`` and K = 2.

    Raises:
        ValueError: if the levels do not reach ``map_stride``, or it is no power of 2.
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64),
        map_stride: int = 4,
        refinements: int = 2,
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        strides = [2 ** (level + (map_stride > 1)) for level in range(len(channels))]
        if map_stride not in strides:
            raise ValueError(f"Expected map_stride among {strides}, those of {channels}, got {map_stride}.")
        steps = [1 if stride == 1 else 2 for stride in strides]
        widths = [1, *channels]
        self.down = nn.ModuleList(
            block(widths[level], width, steps[level], residual) for level, width in enumerate(channels)
        )
        finest = strides.index(map_stride)
        self.up = nn.ModuleList(
            block(channels[level + 1] + channels[level], channels[level], 1, residual)
            for level in reversed(range(finest, len(channels) - 1))
        )
        width = channels[finest]
        self.features = nn.Sequential(*(block(width, width, 1, residual) for _ in range(refinements)))
        self.dropout = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(width, CLASSES, kernel_size=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        levels = []
        features = image
        for down in self.down:
            features = down(features)
            levels.append(features)
        for number, up in enumerate(self.up):
            skipped = levels[len(levels) - 2 - number]
            features = up(torch.cat((interpolate(features, scale_factor=2.0), skipped), dim=1))
        return self.head(self.dropout(self.features(features)))


class ModalityCamNet(nn.Module):
    """One ``CamNet`` a modality, with nothing shared.

    Args:
        modalities: M, their number.
        channels: see ``CamNet``, as the following ones.
        map_stride: pixels of the image for one of the maps.
        refinements: further blocks.
        residual: residual blocks.
        dropout: probability.

    Shape:
        - image: :math:`(B, M, H, W)`.
        - returns: score maps :math:`(B, M K, H / s, W / s)`, K = 2: background and object of the first
          modality, then of the second.

    Raises:
        ValueError: if ``modalities`` is below 1, or the image has another number of channels; as ``CamNet``.

    References:
        Patel, Dolz, *Weakly supervised segmentation with cross-modality equivariant constraints*, Medical
        Image Analysis 77, 2022, arXiv 2104.02488.

    Differs from the source: by default there is no decoder and maps have a quarter of the image's resolution;
    ``channels=(64, 128, 256, 256), map_stride=1, refinements=1, residual=False`` is the published U-Net.
    """

    def __init__(
        self,
        modalities: int,
        channels: tuple[int, ...] = (32, 64),
        map_stride: int = 4,
        refinements: int = 2,
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if modalities < 1:
            raise ValueError(f"Expected modalities >= 1, got {modalities}.")
        options = (channels, map_stride, refinements, residual, dropout)
        self.networks = nn.ModuleList(CamNet(*options) for _ in range(modalities))

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1] != len(self.networks):
            raise ValueError(f"Expected an image of {len(self.networks)} modalities, got {image.shape[1]}.")
        maps = [network(image[:, m : m + 1].contiguous()) for m, network in enumerate(self.networks)]
        return torch.cat(maps, dim=1)


class ResidualBlock(UnetResBlock):
    """MONAI's residual block whose shortcut takes every second pixel before its 1 x 1 convolution, not in it.

    The result is the same. On processors with AVX2 or AVX512-BF16, oneDNN's backward pass of a strided 1 x 1
    convolution of few channels writes beyond its memory when weights or images are channels_last.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(2, in_channels, out_channels, 3, stride, "batch", ("relu", {"inplace": True}))
        self.stride = stride
        if self.downsample:
            self.conv3.conv.stride = (1, 1)

    def forward(self, inp: Tensor) -> Tensor:
        features = self.norm2(self.conv2(self.lrelu(self.norm1(self.conv1(inp)))))
        shortcut = inp
        if hasattr(self, "norm3"):  # scripting knows it at compile time
            shortcut = self.norm3(self.conv3(inp[..., :: self.stride, :: self.stride].contiguous()))
        return self.lrelu(features + shortcut)


def block(in_channels: int, out_channels: int, stride: int, residual: bool) -> nn.Module:
    """MONAI's two convolutions with batch norm and ReLU, with or without a shortcut."""
    if residual:
        return ResidualBlock(in_channels, out_channels, stride)
    return UnetBasicBlock(2, in_channels, out_channels, 3, stride, "batch", ("relu", {"inplace": True}))
