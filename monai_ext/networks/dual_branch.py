"""A U-Net with one encoder and two decoders."""

from collections.abc import Sequence

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from torch import Tensor, nn

BRANCHES = {"both": ("teacher", "student"), "teacher": ("teacher",), "student": ("student",)}


class Encoder(nn.Module):
    """Residual units, each with one stride; returns the features of every level, finest first.

    Args:
        spatial_dims: 2 or 3.
        in_channels: M, the number of modalities.
        channels: width of each level, finest first.
        strides: stride of each level but the deepest, which keeps its resolution.
        norm: normalization layer, as MONAI names it.
        act: activation, as MONAI names it.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        norm: str | tuple = "batch",
        act: str | tuple = "relu",
    ) -> None:
        super().__init__()
        widths = [in_channels, *channels]
        self.levels = nn.ModuleList(
            ResidualUnit(spatial_dims, widths[i], widths[i + 1], stride, subunits=2, norm=norm, act=act)
            for i, stride in enumerate([*strides, 1])
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


class Decoder(nn.Module):
    """Transposed convolution and residual unit per level, from features to logits of the image's size.

    Args:
        spatial_dims: 2 or 3.
        num_classes: K, background included.
        channels: the encoder's widths, finest first.
        strides: the encoder's strides.
        norm: normalization layer, as MONAI names it.
        act: activation, as MONAI names it.
    """

    def __init__(
        self,
        spatial_dims: int,
        num_classes: int,
        channels: Sequence[int],
        strides: Sequence[int],
        norm: str | tuple = "batch",
        act: str | tuple = "relu",
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        width = channels[-1]
        for i in reversed(range(len(strides))):
            narrow = channels[max(i - 1, 0)]
            self.levels.append(
                nn.Sequential(
                    Convolution(
                        spatial_dims,
                        width + channels[i],
                        narrow,
                        strides[i],
                        is_transposed=True,
                        norm=norm,
                        act=act,
                    ),
                    ResidualUnit(spatial_dims, narrow, narrow, subunits=1, norm=norm, act=act),
                )
            )
            width = narrow
        self.head = Convolution(spatial_dims, width, num_classes, kernel_size=1, conv_only=True)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for i, level in enumerate(self.levels):
            x = level(torch.cat((x, features[-2 - i]), dim=1))
        return self.head(x)


class DualBranchUNet(nn.Module):
    """U-Net with a shared encoder and two decoders of equal form: a teacher and a student.

    The teacher learns from fully labeled images, the student from weakly labeled ones; both read the same
    encoder features. What is deployed is the student.

    Args:
        spatial_dims: 2 or 3.
        in_channels: M, the number of modalities.
        num_classes: K, background included.
        channels: width of each level, finest first; at least two.
        strides: stride of each level but the deepest, one fewer than ``channels``.
        norm: normalization layer, as MONAI names it.
        act: activation, as MONAI names it.
        branches: ``"both"`` for training, ``"student"`` or ``"teacher"`` for a network of one decoder, which
            also loads the weights of a network with both, and leaves out the other decoder's.

    Shape:
        - image: :math:`(B, M, *S)`, each of S a multiple of the product of the strides.
        - returns: logits :math:`(B, 2, K, *S)`, teacher first, for ``"both"``; :math:`(B, K, *S)` else.

    Raises:
        ValueError: for an unknown ``branches``, or ``channels`` and ``strides`` that do not fit each other.

    Differs from the source: convolutions are padded and logits have the image's resolution. The published
    network (``PaperDualBranchUNet``) has unpadded convolutions: it decides 256 x 256 pixels on a grid of 68.

    References:
        Dolz, Desrosiers, Ben Ayed, *Teach me to segment with mixed supervision: confident students become
        masters*, IPMI 2021, arXiv 2012.08051.

    Example:
        >>> net = DualBranchUNet(2, in_channels=1, num_classes=3, channels=(4, 8, 8), strides=(2, 2))
        >>> net(torch.zeros(2, 1, 16, 16)).shape
        torch.Size([2, 2, 3, 16, 16])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        strides: Sequence[int] = (2, 2, 2, 2),
        norm: str | tuple = "batch",
        act: str | tuple = "relu",
        branches: str = "both",
    ) -> None:
        super().__init__()
        if branches not in BRANCHES:
            raise ValueError(f"Expected branches to be one of {sorted(BRANCHES)}, got {branches!r}.")
        if len(channels) < 2 or len(strides) != len(channels) - 1:
            raise ValueError(
                "Expected at least two channels and one stride fewer, "
                f"got channels {tuple(channels)} and strides {tuple(strides)}."
            )
        self.encoder = Encoder(spatial_dims, in_channels, channels, strides, norm, act)
        self.decoders = nn.ModuleDict(
            {
                name: Decoder(spatial_dims, num_classes, channels, strides, norm, act)
                for name in BRANCHES[branches]
            }
        )
        self.register_load_state_dict_pre_hook(leave_out_absent_decoders)

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        logits: list[Tensor] = []
        for decoder in self.decoders.values():
            logits.append(decoder(features))
        return logits[0] if len(logits) == 1 else torch.stack(logits, dim=1)


def leave_out_absent_decoders(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *unused: object
) -> None:
    """Drop from ``state_dict`` the weights of a decoder that ``module.decoders`` does not have."""
    present = {name for name, _ in module.get_submodule("decoders").named_children()}
    absent = set(BRANCHES["both"]) - present
    for key in list(state_dict):
        if any(key.startswith(f"{prefix}decoders.{name}.") for name in absent):
            del state_dict[key]
