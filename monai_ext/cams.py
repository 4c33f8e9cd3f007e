"""Class activation maps: what losses, networks, inferers and transforms must compute in the same way.

A network's score maps are (B, M K, H, W): for each of M modalities, K = 2 classes, background and object.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import label
from torch import Tensor

Component = Literal["highest", "largest", "all"]
"""Which connected part of a mask is kept: that in which its map is highest, the largest, or all."""

EPSILON = 1e-8
CLASSES = 2
"""Of the score maps of one modality: background and object."""


def by_modality(maps: Tensor) -> Tensor:
    """Score maps (B, M K, *S) as (B, M, K, *S)."""
    return maps.unflatten(1, (-1, CLASSES))


def pool_scores(maps: Tensor, share: float) -> Tensor:
    r"""Class scores: the mean of the highest values of each map.

    .. math:: s = \frac{1}{|P|} \sum_{p \in P} M_p, \quad P = \text{the } \lceil \alpha H W \rceil \text{
        positions with the highest } M_p

    With :math:`\alpha = 1` it is global average pooling, and the map explains the score completely.

    Args:
        maps: score maps (*N, H, W).
        share: :math:`\alpha`, in (0, 1].

    Returns:
        Scores (*N).
    """
    values = maps.flatten(-2)
    if share == 1:
        return values.mean(dim=-1)
    count = math.ceil(share * values.shape[-1])
    return values.topk(count, dim=-1).values.mean(dim=-1)


def activation(maps: Tensor) -> Tensor:
    """Class activation maps (B, M, H, W) >= 0 of the object, from score maps (B, M K, H, W)."""
    return by_modality(maps)[:, :, 1].relu()


def scale_to_unit_range(cam: Tensor) -> Tensor:
    r"""Every map scaled to [0, 1] on its own; a constant map becomes 0.

    .. math:: \hat c = \frac{\max(0, c - \min c - \epsilon)}{\max c - \min c + \epsilon}

    Args:
        cam: maps (*N, H, W) >= 0.
    """
    low, high = cam.amin(dim=(-2, -1), keepdim=True), cam.amax(dim=(-2, -1), keepdim=True)
    return (cam - low - EPSILON).relu() / (high - low + EPSILON)


def scale_to_unit_norm(cam: Tensor) -> Tensor:
    r"""Every map divided by its Frobenius norm, :math:`c / \max(\lVert c \rVert_F, \epsilon)`; 0 stays 0.

    Args:
        cam: maps (*N, H, W).
    """
    norm = cam.flatten(-2).norm(dim=-1)[..., None, None]
    return cam / norm.clamp_min(EPSILON)


def keep_component(mask: Tensor, which: Component, peak: int = 0) -> Tensor:
    """A mask of which one connected part is left; neighbors touch by a face, an edge or a corner.

    Args:
        mask: (*S), of zeros and others.
        which: the part with the voxel ``peak``, the one with the most voxels, or all.
        peak: number of a voxel of the flattened mask, see ``peak_of``.

    Returns:
        (*S); nothing is left of a mask without its peak.

    Raises:
        ValueError: if ``which`` is another word.
    """
    if which not in ("highest", "largest", "all"):
        raise ValueError(f"Expected component highest, largest or all, got {which!r}.")
    if which == "all" or not mask.any():
        return mask
    parts = torch.as_tensor(label(mask.cpu().numpy() != 0), device=mask.device)
    chosen = parts.flatten()[peak] if which == "highest" else parts.flatten().bincount()[1:].argmax() + 1
    return mask * ((parts == chosen) & (parts > 0))


def peak_of(cam: Tensor) -> int:
    """Number of a voxel of the flattened map where it is highest; of several such parts, in the largest."""
    highest = torch.as_tensor(cam == cam.max()).cpu()
    return int(keep_component(highest, "largest").flatten().int().argmax())


def channel_that_is_there(image: NDArray[np.generic], wanted: int) -> int:
    """The wanted channel of an image (M, *S), or the first that is not constant if it is constant.

    Raises:
        ValueError: if the image has no such channel.
    """
    if not 0 <= wanted < len(image):
        raise ValueError(f"Expected a channel from 0 to {len(image) - 1}, got {wanted}; set edges.")
    there = [c for c in (wanted, *range(len(image))) if image[c].max() > image[c].min()]
    return there[0] if there else wanted


def modality_weights(given: Sequence[float] | None, modalities: int) -> Tensor:
    """Weights (M,) of the modalities, equal ones for None.

    Raises:
        ValueError: if they are not M numbers >= 0 of which one is above 0.
    """
    weights = torch.ones(modalities) if given is None else torch.tensor(list(given), dtype=torch.float32)
    if len(weights) != modalities or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"Expected {modalities} weights >= 0 of the modalities, one of them above 0, got {given}; set "
            "weights_of_modalities."
        )
    return weights
