"""One network at several image sizes."""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import chain, combinations, product
from typing import Any, Literal

import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import interpolate, pad

from monai_ext.inferers.autocast import AutocastInferer

LINEAR = {4: "bilinear", 5: "trilinear"}
"""Mode of ``interpolate`` by the number of axes of a batch."""


class MultiScaleInferer(Inferer):
    r"""Run a network on an image at several sizes and bring all logits back to the image's own size.

    .. math:: z_s = R_{1/s}\big(f(R_s(x))\big), \quad s \in \text{scales}

    with :math:`f` the network and :math:`R` a linear resampling of every spatial axis to the nearest whole
    number of voxels, at least one. Where that is no multiple of ``divisor``, the network sees the image
    continued up to the next multiple by its last voxels, and this margin is cut off what it gives. An image
    at scale 1 stays as it is. Runs in bfloat16 where the device has units for it, see ``AutocastInferer``.

    Args:
        scales: factors of size, each above 0.
        divisor: what the sizes that the network sees are multiples of, unless the scale is 1: 2 to the power
            of its levels of downsampling.
        autocast: whether to run in bfloat16; None: where the device computes in it by itself.

    Shape:
        - inputs: :math:`(B, M, *S)`, two or three spatial axes.
        - returns: :math:`(B, N, K, *S)` float32, logits of N scales, where the network gives
          :math:`(B, K, *S)`, at any resolution.

    Raises:
        ValueError: if there is no scale, a scale is not positive, ``divisor`` is below 1, or the input has
            other axes.

    Differs from the source: half-pixel centers instead of aligned corners; a margin where a size does
    not suit the network.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.
    """

    def __init__(self, scales: Sequence[float], divisor: int = 16, autocast: bool | None = None) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ValueError(f"Expected at least one scale, each above 0, got {list(scales)}.")
        if divisor < 1:
            raise ValueError(f"Expected divisor >= 1, got {divisor}.")
        self.scales = tuple(scales)
        self.divisor = divisor
        self.base = AutocastInferer(autocast)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        done = [self.at_scale(inputs, scale, network, *args, **kwargs) for scale in self.scales]
        return torch.stack(done, dim=1)

    def at_scale(
        self, image: Tensor, scale: float, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Logits (B, K, *S) of one scale, at the image's size."""
        if image.ndim not in LINEAR:
            raise ValueError(f"Expected images (B, M, *S) of two or three axes S, got {tuple(image.shape)}.")
        size, mode = list(image.shape[2:]), LINEAR[image.ndim]
        if scale == 1:
            return resized(self.base(image, network, *args, **kwargs), size, mode)
        scaled = [max(1, round(n * scale)) for n in size]
        margins = [-n % self.divisor for n in scaled]
        image = interpolate(image, scaled, mode=mode)
        if any(margins):
            image = pad(image, [n for margin in reversed(margins) for n in (0, margin)], mode="replicate")
        logits = self.base(image, network, *args, **kwargs)
        if any(margins):
            logits = resized(logits, list(image.shape[2:]), mode)
            logits = logits[(slice(None), slice(None), *map(slice, scaled))]
        return resized(logits, size, mode)


def resized(maps: Tensor, size: list[int], mode: str) -> Tensor:
    """Maps (B, K, *S) at a size; those that have it already stay as they are."""
    return maps if list(maps.shape[2:]) == size else interpolate(maps, size, mode=mode)


class AveragingInferer(Inferer):
    r"""The mean of a network's predictions over image sizes and flips.

    .. math:: z = \log \frac{1}{|T|} \sum_{t \in T} t^{-1}\big(\mathrm{softmax}(f(t(x)))\big)
        \quad\text{or}\quad z = \frac{1}{|T|} \sum_{t \in T} t^{-1}(f(t(x)))

    with :math:`f` the network and :math:`T` every scale combined with every subset of the flips. The first is
    the mean of probabilities, as logits: :math:`\mathrm{softmax}(z)` is the mean itself, but for a floor of
    1e-7 that keeps :math:`z` finite; as certain as a single pass where the views agree, less certain where
    they do not. The second is the mean of what the network gives, for networks whose channels are not the
    classes of one softmax.

    Args:
        scales: factors of size, as in ``MultiScaleInferer``.
        flip_axes: spatial axes that are flipped, 0 being the first; with n of them there are
            :math:`2^n` passes a scale.
        divisor: what the sizes that the network sees are multiples of, as in ``MultiScaleInferer``.
        autocast: whether to run in bfloat16; None: where the device computes in it by itself.
        average: "probs" or "logits".

    Shape:
        - inputs: :math:`(B, M, *S)`, two or three spatial axes.
        - returns: :math:`(B, K, *S)` float32, where the network gives :math:`(B, K, *S)`, at any resolution.

    Raises:
        ValueError: as ``MultiScaleInferer``, if an axis is negative or named twice, or ``average`` is
            unknown.

    Differs from the source: the mean of probabilities instead of logits.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.
    """

    def __init__(
        self,
        scales: Sequence[float] = (1.0,),
        flip_axes: Sequence[int] = (),
        divisor: int = 16,
        autocast: bool | None = None,
        average: Literal["probs", "logits"] = "probs",
    ) -> None:
        super().__init__()
        if average not in ("probs", "logits"):
            raise ValueError(f"Expected average probs or logits, got {average!r}.")
        if min(flip_axes, default=0) < 0 or len(set(flip_axes)) < len(flip_axes):
            raise ValueError(f"Expected flip_axes >= 0, each once, got {list(flip_axes)}.")
        self.average = average
        self.views = MultiScaleInferer(scales, divisor, autocast)
        subsets = chain.from_iterable(combinations(flip_axes, n) for n in range(len(flip_axes) + 1))
        self.flips = [[axis + 2 for axis in subset] for subset in subsets]

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        logits = (
            self.views.at_scale(inputs.flip(axes), scale, network, *args, **kwargs).flip(axes)
            for axes, scale in product(self.flips, self.views.scales)
        )
        views = len(self.flips) * len(self.views.scales)
        if self.average == "logits":
            return reduce(torch.add, logits) / views
        mean = reduce(torch.add, (z.softmax(dim=1) for z in logits)) / views
        return mean.clamp_min(1e-7).log()
