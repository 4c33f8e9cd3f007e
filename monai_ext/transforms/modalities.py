"""Images of several modalities as one image with a channel for each."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from monai_ext.errors import InputError
from monai_ext.keys import CASE, MODALITIES
from monai_ext.transforms.case_names import named_by_case
from monai_ext.transforms.intensity import padding

FOREGROUND = 0.3
"""Share of the mean positive intensity above which a voxel counts as foreground."""


class ArrangeModalitiesd(MapTransform):
    """Put the channels of an image in the network's order, with 0 where the case has no such modality.

    An item says under ``modalities`` which ones its image has; without it, it has all. The image is named
    after the case, as by ``NameByCased``, and no longer after a modality.
    Not random, not invertible; dtype is kept.

    Args:
        keys: keys of images (n, *S).
        modalities: names of the channels that the network takes, in their order.

    Raises:
        ValueError: if an image has another number of channels than its item says, or the item names a
            modality that is not among ``modalities``.
    """

    def __init__(self, keys: KeysCollection, modalities: Sequence[str]) -> None:
        super().__init__(keys)
        self.modalities = list(modalities)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        found = list(result.get(MODALITIES) or self.modalities)
        if unknown := sorted(set(found) - set(self.modalities)):
            raise ValueError(
                f"Expected modalities among {', '.join(self.modalities)} for case {result.get(CASE)}, got "
                f"{', '.join(unknown)}; leave their files out of the item."
            )
        for key in self.key_iterator(result):
            image = torch.as_tensor(result[key])
            if len(image) != len(found):
                raise ValueError(
                    f"Expected an image of {len(found)} channels ({', '.join(found)}) for case "
                    f"{result.get(CASE)}, got {len(image)}; correct the item's list of files."
                )
            shape = (len(self.modalities), *image.shape[1:])
            arranged = torch.zeros(shape, dtype=image.dtype, device=image.device)
            for channel, name in zip(image, found, strict=True):
                arranged[self.modalities.index(name)] = torch.as_tensor(channel)
            if isinstance(image, MetaTensor):
                arranged = MetaTensor(arranged).copy_meta_from(image)
            result[key] = named_by_case(arranged, result)
        return result


class ScaleForegroundIntensityd(MapTransform):
    r"""Scale every channel by mean and standard deviation of its foreground, to [0, 1].

    .. math:: x' = \mathrm{clip}\Big(\frac{(x - \mu) / \sigma - a}{b - a}\Big), \quad
        \mu, \sigma \text{ over } \{x > 0.3 \, \bar x_{+}\}

    with :math:`\bar x_{+}` the mean of the positive voxels: air and skull-stripped background take no part,
    however much of them there is, nor does padding (see ``monai_ext.transforms.intensity.padding``), which
    becomes 0. A channel with negative values, as after standardization, is first moved so that its lowest
    is 0. A constant channel, such as that of a missing modality, becomes 0. Not random, not invertible;
    float32.

    Args:
        keys: keys of images (M, *S) whose background is the darkest.
        low: a, in standard deviations; what is below becomes 0.
        high: b, in standard deviations; what is above becomes 1.

    Raises:
        InputError: if a channel is not constant, and its foreground is.
    """

    def __init__(self, keys: KeysCollection, low: float = -3.0, high: float = 5.0) -> None:
        super().__init__(keys)
        if not low < high:
            raise ValueError(f"Expected low < high, got {low} and {high}.")
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key].clone().float()
            for number, channel in enumerate(image):
                voxels = channel.as_tensor() if isinstance(channel, MetaTensor) else channel
                outside = padding(voxels)
                scaled = self.scaled(voxels) if outside is None else torch.zeros_like(voxels)
                if outside is not None:
                    scaled[~outside] = self.scaled(voxels[~outside])
                if not scaled.any() and voxels.amin() < voxels.amax():
                    raise InputError(
                        f"{result.get(CASE) or key}: Expected a foreground with contrast, got none in "
                        f"channel {number} (from 0); export the image again or leave the case out."
                    )
                channel.copy_(scaled)
            result[key] = image
        return result

    def scaled(self, channel: Tensor) -> Tensor:
        """One channel (*S)."""
        if (lowest := channel.amin()) < 0:
            channel = channel - lowest
        positive = channel[channel > 0]
        inside = channel[channel > FOREGROUND * positive.mean()] if len(positive) else positive
        if len(inside) == 0 or inside.amin() == inside.amax():
            return torch.zeros_like(channel)
        scores = (channel - inside.mean()) / inside.std()
        return ((scores - self.low) / (self.high - self.low)).clamp(0, 1)
