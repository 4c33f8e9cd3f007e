"""The network published with the mixed-supervision paper, for parity tests."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_ext.networks.dual_branch import BRANCHES, leave_out_absent_decoders


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (in_channels, out_channels):
        layers += [nn.Conv2d(width, out_channels, 3), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


class PaperEncoder(nn.Module):
    """Four blocks of two unpadded convolutions and a max-pool; skips are taken after the pooling."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        widths = (in_channels, 64, 128, 256, 512)
        self.levels = nn.ModuleList(
            nn.Sequential(_double_conv(widths[i], widths[i + 1]), nn.MaxPool2d(2)) for i in range(4)
        )
        self.dropout = nn.Dropout(0.5)
        self.center = nn.Sequential(_double_conv(512, 1024), nn.ConvTranspose2d(1024, 512, 2, stride=2))

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        features[-1] = self.dropout(features[-1])
        features.append(self.center(features[-1]))
        return features


class PaperDecoder(nn.Module):
    """Four levels; each resizes the skip to its own size, joins it, and convolves without padding."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for width in (512, 256, 128):
            up = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
            self.levels.append(nn.Sequential(_double_conv(2 * width, width), up))
        self.levels.append(_double_conv(128, 64))
        self.head = nn.Conv2d(64, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for i, level in enumerate(self.levels):
            skip = interpolate(features[-2 - i], size=x.shape[2:], mode="bilinear", align_corners=False)
            x = level(torch.cat((x, skip), dim=1))
        return self.head(x)


class PaperDualBranchUNet(nn.Module):
    """The published two-decoder U-Net: 2D, widths 64 to 1024, convolutions without padding.

    Use ``DualBranchUNet`` to segment; this one decides 256 x 256 pixels on a grid of 68 x 68 and resizes the
    logits.

    Args:
        in_channels: M, the number of modalities.
        num_classes: K, background included.
        branches: as in ``DualBranchUNet``.

    Shape:
        - image: :math:`(B, M, H, W)`, H and W at least 188.
        - returns: logits :math:`(B, 2, K, H, W)`, teacher first, for ``"both"``; :math:`(B, K, H, W)` else.

    Raises:
        ValueError: for an unknown ``branches``, or an image too small for the unpadded convolutions.

    References:
        Dolz, Desrosiers, Ben Ayed, *Teach me to segment with mixed supervision: confident students become
        masters*, IPMI 2021, arXiv 2012.08051, and the network file of its repository.
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 2, branches: str = "both") -> None:
        super().__init__()
        self.smallest = 188  # pixels; below, an unpadded convolution has nothing left
        if branches not in BRANCHES:
            raise ValueError(f"Expected branches to be one of {sorted(BRANCHES)}, got {branches!r}.")
        self.encoder = PaperEncoder(in_channels)
        self.decoders = nn.ModuleDict({name: PaperDecoder(num_classes) for name in BRANCHES[branches]})
        self.register_load_state_dict_pre_hook(leave_out_absent_decoders)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        if min(image.shape[2:]) < self.smallest:
            raise ValueError(
                f"Expected an image of at least {self.smallest} pixels a side, got {image.shape[2:]}."
            )
        features = self.encoder(image)
        logits: list[Tensor] = []
        for decoder in self.decoders.values():
            grid = decoder(features)
            logits.append(interpolate(grid, size=image.shape[2:], mode="bilinear", align_corners=False))
        return logits[0] if len(logits) == 1 else torch.stack(logits, dim=1)
