"""Scaling of intensities by what is not padding."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, ScaleIntensityRange, ScaleIntensityRangePercentiles
from monai.transforms.utils_pytorch_numpy_unification import percentile
from monai.utils import convert_to_tensor
from torch import Tensor

from monai_ext.errors import InputError
from monai_ext.keys import CASE

PADDING_VALUES = (-32768.0, -9999.0, -3024.0, -3000.0, -2048.0, -2000.0)
"""What scanners and converters are known to write where they measured nothing."""
SHARE = 1e-3
"""Least share of all voxels that padding has."""
KNOWN_GAP, ANY_GAP = 0.1, 1.0
"""Least distance of padding from all other values, in ranges of these: of known values, and of any."""

NEAR, NEAR_SHARE = 0.02, 0.05
"""How near to padding interpolated voxels lie, as a share of its value, and how many must do so."""
OVERSHOOT, TISSUE = 1.5, 0.6
"""Where values beside interpolated padding end, and where tissue may begin, in units of the padding."""
RINGING = 2.0
"""How far tissue goes up beyond its 90th percentile, in distances of this from its median."""


def padding(image: Tensor) -> Tensor | None:
    """Mask of the voxels that hold padding, else None.

    Padding is the lowest or the highest value of an image where more than ``SHARE`` of the voxels have it and
    it lies far from all others: ``ANY_GAP`` times the range of these, or ``KNOWN_GAP`` times if the value is
    one of ``PADDING_VALUES``. What is left is looked at again, for padding at both ends.

    Where an image was interpolated after it was padded, its values run from the padding to the tissue and
    beyond both. If more than ``NEAR_SHARE`` of the voxels lie near one of ``PADDING_VALUES`` and others
    between it and the tissue, all that is not within the spread of the tissue counts as padding, too.

    Args:
        image: any shape.

    >>> padding(torch.tensor([-2000.0, -2000.0, -990.0, -200.0, 40.0, 700.0, 1500.0]))
    tensor([ True,  True, False, False, False, False, False])
    >>> padding(torch.tensor([0.0, 0.0, 1.0, 2.0]))
    """
    if (blurred := _interpolated(image)) is not None:
        return blurred
    found, rest = torch.zeros_like(image, dtype=torch.bool), image.flatten()
    while (value := _padding_value(rest, image.numel())) is not None:
        found |= image == value
        rest = rest[rest != value]
    return found if found.any() else None


def _interpolated(image: Tensor) -> Tensor | None:
    """Mask of padding and of what interpolation made of it and the tissue beside it, else None."""
    lowest = float(image.amin())
    for value in PADDING_VALUES:
        if not OVERSHOOT * value <= lowest <= (1 - NEAR) * value:
            continue
        near = (image - value).abs() <= NEAR * abs(value)
        between = (image > (1 - NEAR) * value) & (image < TISSUE * value)
        values = image[image >= TISSUE * value]
        if int(near.sum()) <= NEAR_SHARE * image.numel() or len(values) < 2:
            continue
        if int(between.sum()) <= SHARE * image.numel():
            continue  # as it was written, and the rule of gaps holds
        low, middle, high = (float(percentile(values.float(), q)) for q in (10, 50, 90))
        floor = max(min(low - (middle - low), 0.0), (value + low) / 2)
        outside = image < floor
        if lowest < (1 + NEAR) * value:  # cubic: it rings, above the tissue as below the padding
            outside |= image > high + RINGING * (high - middle)
        return outside
    return None


def _padding_value(values: Tensor, total: int) -> Tensor | None:
    for value in (values.amin(), values.amax()):
        same = values == value
        if not SHARE * total < int(same.sum()) < len(values):
            continue
        others = values[~same]
        low, high = others.amin().double(), others.amax().double()
        gap = torch.minimum((low - value).abs(), (high - value).abs())
        wanted = KNOWN_GAP if float(value) in PADDING_VALUES else ANY_GAP
        if high > low and gap > wanted * (high - low):
            return value
    return None


class ScalePercentilesd(MapTransform):
    """Scale intensities so that two percentiles become 0 and 1, and clip; padding becomes 0, uncounted.

    Without padding (see ``padding``) it is MONAI's ``ScaleIntensityRangePercentilesd``, to the last bit, as
    long as the percentiles differ. Where they are one value, as that of the background around a small organ,
    they are taken among all other voxels, and the background counts as one voxel more: a dark background
    becomes 0, a bright one 1, and the organ keeps its contrast. Not random, not invertible; float32.

    Args:
        keys: keys of images (M, *S).
        lower: percentile that becomes 0.
        upper: percentile that becomes 1.
        channel_wise: whether every channel is scaled for itself; else all are scaled together.

    Raises:
        InputError: if the image, or with ``channel_wise`` a channel, is constant.
    """

    def __init__(
        self, keys: KeysCollection, lower: float = 1, upper: float = 99, channel_wise: bool = False
    ) -> None:
        super().__init__(keys)
        self.scale = _Scale(lower, upper, 0, 1, clip=True, channel_wise=channel_wise)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            for part in image if self.scale.channel_wise else [image]:
                if float(part.amin()) == float(part.amax()):
                    name = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
                    what = "contrast in every channel" if self.scale.channel_wise else "contrast"
                    raise InputError(
                        f"{name or result.get(CASE) or key}: Expected an image with {what}, got the constant "
                        f"intensity {float(part.amin()):g}; export it again or leave the case out."
                    )
            result[key] = self.scale(image)
        return result


class _Scale(ScaleIntensityRangePercentiles):
    """MONAI's array transform, that looks for the percentiles in what is not padding."""

    def _normalize(self, img: Any) -> Any:
        if (outside := padding(img)) is None:
            return self._scaled(img)
        scaled = torch.zeros_like(img, dtype=torch.float32)
        scaled[~outside] = self._scaled(img[~outside])
        return scaled

    def _scaled(self, values: Tensor) -> Tensor:
        low, high = self._percentiles(values)
        if low == high:
            others = self._percentiles(values[values != low])
            low, high = min(low, others[0]), max(high, others[1])
        scale = ScaleIntensityRange(low, high, self.b_min, self.b_max, clip=True, dtype=self.dtype)
        done: Any = convert_to_tensor(scale(values), track_meta=False)  # else its empty meta would count
        return torch.as_tensor(done)

    def _percentiles(self, values: Tensor) -> tuple[Any, Any]:
        return percentile(values, self.lower), percentile(values, self.upper)
