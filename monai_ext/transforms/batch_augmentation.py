"""Random changes of a whole batch on its device: one resampling for all that is spatial, then intensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from monai_ext.keys import IMAGE, LABEL, UNLABELED
from monai_ext.transforms.crops import crop_middles, crop_starts, relative_size


@dataclass
class Drawn:
    """The random numbers of one batch, drawn before anything is applied.

    Attributes:
        affine: (B, d, d + 1) maps from output to input coordinates, each axis running over [-1, 1].
        displacement: (B, d, *C) displacements at control points in the same coordinates, or None.
        gamma: (B,) exponents.
        gain: (B,) factors.
        offset: (B,) summands in units of the intensity range.
        noise_std: (B,) standard deviations in units of the intensity range.
        noise_seed: seed of the noise on the device.
        crop_seed: seed of the places of crops on the device.
    """

    affine: Tensor
    displacement: Tensor | None
    gamma: Tensor
    gain: Tensor
    offset: Tensor
    noise_std: Tensor
    noise_seed: int
    crop_seed: int


class BatchAugmentation:
    r"""Augment image and label of a batch together, with other random numbers for every item.

    Rotation, scaling, translation, flips and a smooth displacement form one map of coordinates, so image
    (bilinear) and label (nearest) are each interpolated once, at the same points. What moves in from outside
    is 0 in the image and ``UNLABELED`` in the label. Then :math:`x \mapsto g\,x^\gamma + o + \epsilon`, for
    images scaled to [0, 1].

    With ``crop_size`` the points lie in a crop of the image, so a small network sees a part of every image at
    full resolution. Two thirds of the crops, by default, lie around an object, see ``crop_starts``.

    Randomness is drawn on the CPU from the generator that is passed in, apart from being applied. With every
    strength at 0 and no crop nothing changes. Inputs are not changed in place; dtypes are kept.

    Args:
        crop_size: voxels of the crop along each axis; None for the whole image. What of a crop lies outside
            of a smaller image is filled as what moves in.
        object_share: share of the crops that lie around a voxel of an object, where one is known.
        crop_jitter: largest distance of that voxel from the middle of the crop, as a share of its size.
        rotation: largest angle in degrees, in the plane of the first two axes, which is that of the slices.
        scale: largest relative change of size, e.g. 0.2 for factors between 1 / 1.2 and 1.2.
        translation: largest shift as a share of the image's size.
        flip_axes: spatial axes that are flipped with probability 1/2; 0 is the first.
        displacement: standard deviation at the control points, as a share of half the image's size.
        control_points: points per axis where the displacement is drawn; between them it is interpolated.
        gamma: largest relative change of the exponent, between 1 / (1 + gamma) and 1 + gamma.
        gain: largest relative change of contrast.
        offset: largest shift of brightness, in units of the intensity range.
        noise: largest standard deviation of the Gaussian noise, in units of the intensity range.
        probability: share of items whose intensities are changed; also of those moved other than by flips.

    Raises:
        ValueError: if a strength is negative or the probability is outside [0, 1].
    """

    def __init__(
        self,
        rotation: float = 0.0,
        scale: float = 0.0,
        translation: float = 0.0,
        flip_axes: Sequence[int] = (),
        displacement: float = 0.0,
        control_points: int = 4,
        gamma: float = 0.0,
        gain: float = 0.0,
        offset: float = 0.0,
        noise: float = 0.0,
        probability: float = 0.8,
        crop_size: Sequence[int] | None = None,
        object_share: float = 2 / 3,
        crop_jitter: float = 0.25,
    ) -> None:
        strengths = {
            "rotation": rotation,
            "scale": scale,
            "translation": translation,
            "displacement": displacement,
            "gamma": gamma,
            "gain": gain,
            "offset": offset,
            "noise": noise,
        }
        for name, value in strengths.items():
            if value < 0:
                raise ValueError(f"Expected {name} >= 0, got {value}.")
        for name, share in {"probability": probability, "object_share": object_share}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"Expected 0 <= {name} <= 1, got {share}.")
        if not 0 <= crop_jitter <= 0.5:
            raise ValueError(f"Expected 0 <= crop_jitter <= 0.5, got {crop_jitter}.")
        self.strengths = strengths
        self.flip_axes = tuple(flip_axes)
        self.control_points = control_points
        self.probability = probability
        self.crop_size = None if crop_size is None else tuple(crop_size)
        self.object_share = object_share
        self.crop_jitter = crop_jitter

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        image = batch[IMAGE]
        drawn = self.draw(len(image), image.ndim - 2, generator)
        moved = self.move(image, batch[LABEL], drawn)
        return {**batch, IMAGE: self.change_intensity(moved[0], drawn), LABEL: moved[1]}

    def draw(self, batch: int, dims: int, generator: torch.Generator) -> Drawn:
        """Draw the random numbers for ``batch`` items of ``dims`` spatial dimensions."""
        s = self.strengths

        def symmetric(*size: int) -> Tensor:
            return 2 * torch.rand(size, generator=generator) - 1

        moved = (torch.rand(batch, generator=generator) < self.probability).float()
        changed = (torch.rand(batch, generator=generator) < self.probability).float()
        angle = torch.deg2rad(s["rotation"] * symmetric(batch) * moved)
        zoom = (1 + s["scale"]) ** (symmetric(batch) * moved)
        shift = 2 * s["translation"] * symmetric(batch, dims) * moved[:, None]
        signs = torch.ones(batch, dims)
        for axis in self.flip_axes:
            signs[:, axis] = 1 - 2 * (torch.rand(batch, generator=generator) < 0.5).float()
        field = torch.randn((batch, dims, *[self.control_points] * dims), generator=generator)
        field = s["displacement"] * field * moved.view(-1, *[1] * (dims + 1))
        return Drawn(
            affine=affine_maps(angle, zoom, signs, shift),
            displacement=field if s["displacement"] else None,
            gamma=(1 + s["gamma"]) ** (symmetric(batch) * changed),
            gain=1 + s["gain"] * symmetric(batch) * changed,
            offset=s["offset"] * symmetric(batch) * changed,
            noise_std=s["noise"] * torch.rand(batch, generator=generator) * changed,
            noise_seed=int(torch.randint(2**31, (1,), generator=generator)),
            crop_seed=0 if self.crop_size is None else int(torch.randint(2**31, (1,), generator=generator)),
        )

    def move(self, image: Tensor, label: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """Resample image (B, M, *S) and label (B, 1, *S) at the drawn points."""
        space, device = image.shape[2:], image.device
        identity = torch.eye(len(space), len(space) + 1).expand_as(drawn.affine)
        size = tuple(space) if self.crop_size is None else self.crop_size
        whole = size == tuple(space)
        if whole and drawn.displacement is None and torch.equal(drawn.affine, identity):
            return image, label
        theta = isotropic(drawn.affine, space, size).to(device)
        if not whole:
            starts = crop_starts(label, size, self.object_share, self.crop_jitter, drawn.crop_seed)
            theta[..., -1] += crop_middles(starts, size, space)
        grid = affine_grid(theta, [len(image), 1, *size], align_corners=False)
        if drawn.displacement is not None:
            field = smooth_field(drawn.displacement.to(device), size).movedim(1, -1)
            grid = grid + (field if whole else field * relative_size(size, space).to(field))
        image_moved = grid_sample(image.float(), grid, align_corners=False).to(image.dtype)
        shifted = UNLABELED - label.float()  # 0, which is what comes in from outside, stands for UNLABELED
        label_moved = UNLABELED - grid_sample(shifted, grid, mode="nearest", align_corners=False).round()
        return image_moved, label_moved.to(label.dtype)

    def change_intensity(self, image: Tensor, drawn: Drawn) -> Tensor:
        """Apply gamma, gain, offset and noise to an image (B, M, *S) scaled to [0, 1]."""
        if not any(self.strengths[name] for name in ("gamma", "gain", "offset", "noise")):
            return image
        shape = (-1, *[1] * (image.ndim - 1))
        gamma, gain, offset, std = (
            t.to(image.device).view(shape) for t in (drawn.gamma, drawn.gain, drawn.offset, drawn.noise_std)
        )
        changed = gain * image.float().clamp_min(0).pow(gamma) + offset
        if self.strengths["noise"]:
            generator = torch.Generator(image.device).manual_seed(drawn.noise_seed)
            changed = changed + std * torch.randn(image.shape, generator=generator, device=image.device)
        return changed.to(image.dtype)


def affine_maps(angle: Tensor, zoom: Tensor, signs: Tensor, shift: Tensor) -> Tensor:
    """Maps (B, d, d + 1) from output to input coordinates, the last axis first as in ``affine_grid``.

    Args:
        angle: (B,) radians in the plane of the first two axes, which is that of the slices.
        zoom: (B,) factors; above 1 objects become larger.
        signs: (B, d) of -1 (flipped) or 1, first axis first.
        shift: (B, d) in units of half the image's size, first axis first.
    """
    batch, dims = signs.shape
    matrix = torch.eye(dims).repeat(batch, 1, 1)
    a, b = dims - 2, dims - 1  # the first two spatial axes, in which slices lie
    matrix[:, a, a] = matrix[:, b, b] = angle.cos()
    matrix[:, a, b], matrix[:, b, a] = -angle.sin(), angle.sin()
    matrix = matrix * signs.flip(1)[:, None] / zoom[:, None, None]
    return torch.cat((matrix, shift.flip(1)[..., None]), dim=2)


def smooth_field(control: Tensor, space: Sequence[int]) -> Tensor:
    """Cubic interpolation of a field (B, C, *P) at control points to (B, C, *S), on its device."""
    for size in space:
        basis = cubic_basis(control.shape[2], size, control.device)
        control = torch.tensordot(control, basis, dims=([2], [0]))  # the new axis becomes the last
    return control


@lru_cache
def cubic_basis(points: int, size: int, device: torch.device) -> Tensor:
    """Weight (P, S) of each control point at each voxel of an axis; shared, so not to be changed in place."""
    unit = torch.eye(points, device=device)[None, None]
    return interpolate(unit, size=(points, size), mode="bicubic", align_corners=True)[0, 0]


def isotropic(affine: Tensor, space: Sequence[int], size: Sequence[int]) -> Tensor:
    """Make rotations rigid in voxels, although ``affine_grid`` lets every axis run over [-1, 1].

    Args:
        affine: (B, d, d + 1), last axis first.
        space: sizes of the input.
        size: sizes of the output, whose voxels are as large as those of the input.
    """
    of_input, of_output = (torch.tensor(list(sizes)[::-1], dtype=affine.dtype) for sizes in (space, size))
    matrix = affine[..., :-1] * (of_output[None, None, :] / of_input[None, :, None])
    return torch.cat((matrix, affine[..., -1:]), dim=2)
