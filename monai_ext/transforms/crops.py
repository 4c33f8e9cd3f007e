"""Where crops of a batch lie: around objects, every class as often as every other, or anywhere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_ext.keys import UNLABELED


def relative_size(size: Sequence[int], space: Sequence[int]) -> Tensor:
    """Size of a crop as a share of the image's, (d,), last axis first as in a sampling grid."""
    return torch.tensor([crop / whole for crop, whole in zip(size, space, strict=True)][::-1])


def crop_middles(starts: Tensor, size: Sequence[int], space: Sequence[int]) -> Tensor:
    """Middles (B, d) of crops in the coordinates of a sampling grid, last axis first."""
    crop, whole = starts.new_tensor(list(size)), starts.new_tensor(list(space))
    return ((2 * starts + crop) / whole - 1).flip(1)


def crop_starts(label: Tensor, size: Sequence[int], object_share: float, jitter: float, seed: int) -> Tensor:
    r"""Draw for each item where a crop begins: around a voxel of an object, or anywhere.

    The voxel is drawn with the probability

    .. math:: P(v) = \frac{1}{|K|\, |\{u : y(u) = y(v)\}|}

    among the voxels that are known to belong to one of the classes K of the item without background, so that
    every class has as many crops as every other. Where no such voxel is known it is any voxel. Crops lie
    inside of the image, in its middle along an axis on which it is not larger than they are.

    Args:
        label: (B, 1, *S), ``UNLABELED`` where nothing is known.
        size: voxels of a crop along each of the d axes.
        object_share: probability that a crop lies around such a voxel.
        jitter: largest distance of the voxel from the middle of the crop, as a share of its size.
        seed: of what is drawn, on the device of the label.

    Returns:
        First voxels (B, d), float32; negative along axes on which the image is smaller.
    """
    device, space = label.device, label.shape[2:]
    generator = torch.Generator(device).manual_seed(seed)
    flat = label.flatten(1).long()
    classes = UNLABELED + 1
    items = torch.arange(len(flat), device=device)[:, None]
    counts = torch.bincount((flat + classes * items).flatten(), minlength=classes * len(flat))
    weights = 1 / counts.view(-1, classes).clamp_min(1).double()  # of a voxel of each class
    weights[:, [0, UNLABELED]] = 0
    known = counts.view(-1, classes)[:, 1:UNLABELED].any(dim=1, keepdim=True)
    anywhere = torch.rand(len(flat), 1, generator=generator, device=device) >= object_share
    weights = torch.where(known & ~anywhere, weights, 1.0)
    summed = weights.gather(1, flat).cumsum(dim=1)
    drawn = torch.rand(len(flat), 1, generator=generator, device=device) * summed[:, -1:]
    chosen = torch.searchsorted(summed, drawn, right=True).clamp_max(flat.shape[1] - 1)[:, 0]
    voxel = torch.stack(torch.unravel_index(chosen, space), dim=1).float()
    crop, whole = (torch.tensor(list(sizes), device=device, dtype=torch.float32) for sizes in (size, space))
    moved = (2 * torch.rand(voxel.shape, generator=generator, device=device) - 1) * jitter * crop
    start = (voxel - (crop / 2).floor() + moved).round()
    room = (whole - crop).clamp_min(0)
    return torch.where(whole > crop, start.clamp_min(0).minimum(room), ((whole - crop) / 2).floor())
