"""One random spatial change for a whole batch, for images of all modalities and for maps made from them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

FLIP, QUARTER_TURN, TRANSLATION, SCALE, ROTATION = "flip", "quarter_turn", "translation", "scale", "rotation"
KINDS = (FLIP, QUARTER_TURN, TRANSLATION, SCALE, ROTATION)


class SpatialView(NamedTuple):
    """A change whose random numbers have been drawn, so that it is the same for everything it is applied to.

    Attributes:
        kind: one of ``KINDS``.
        axis: spatial axis of a flip, 0 or 1.
        turns: number of quarter turns, 1 to 3.
        matrix: (B, 2, 2) from output to input positions in pixels, first axis first, about the center; or
            (1, 2, 2) for all images.
        shift: (B, 2) or (1, 2) likewise, as a share of the image's size.
    """

    kind: str
    axis: int = 0
    turns: int = 0
    matrix: Tensor = torch.eye(2)[None]
    shift: Tensor = torch.zeros(1, 2)

    def __call__(self, tensor: Tensor) -> Tensor:
        """Change images or maps (B, C, H, W) of any resolution; outside of them is 0.

        Flips and quarter turns are exact; a quarter turn exchanges H and W. The others interpolate linearly
        between pixels of the image only, so what is valid holds nothing of the 0 outside.
        """
        if self.kind == FLIP:
            return tensor.flip(2 + self.axis)
        if self.kind == QUARTER_TURN:
            return torch.rot90(tensor, self.turns, (2, 3))
        grid = self.grid(tensor).to(tensor.dtype)
        inside = grid_sample(tensor, grid, padding_mode="border", align_corners=False)
        return inside * self.valid(tensor)

    def valid(self, tensor: Tensor) -> Tensor:
        """Mask (B, 1, H', W') of the pixels of the changed ``tensor`` (B, C, H, W) that lie inside it."""
        if self.kind in (FLIP, QUARTER_TURN):
            return torch.ones_like(self(tensor[:, :1]), dtype=torch.bool)
        return (self.grid(tensor).abs() <= 1).all(dim=-1)[:, None]

    def grid(self, tensor: Tensor) -> Tensor:
        """Positions (B, H, W, 2) in (B, C, H, W) as ``grid_sample`` takes them."""
        size = torch.tensor(tensor.shape[2:], dtype=torch.float32)
        unit = self.matrix * (size[None, None, :] / size[None, :, None])  # each axis runs over [-1, 1]
        shift = 2 * self.shift.flip(1)[..., None]
        theta = torch.cat([part.expand(len(tensor), -1, -1) for part in (unit.flip(1, 2), shift)], dim=2)
        return affine_grid(theta.to(tensor.device), [len(tensor), 1, *tensor.shape[2:]], align_corners=False)


class RandomSpatialView:
    """Draw a ``SpatialView``: for each batch one kind of change, with other numbers for every image.

    The axis of a flip, the number of quarter turns and the factor of size are the same in a batch.

    Args:
        kinds: of ``KINDS``, each as probable as the others.
        translation: largest shift as a share of the image's size, along each axis.
        scale: smallest and largest factor of size; above 1 objects become larger.
        rotation: largest angle of a free rotation, in degrees.

    Raises:
        ValueError: if a kind is unknown or there is none, or a strength is out of range.

    References:
        Patel, Dolz, *Weakly supervised segmentation with cross-modality equivariant constraints*, Medical
        Image Analysis 77, 2022, arXiv 2104.02488.

    Differs from the source: what lies outside of the image is known (``SpatialView.valid``); sizes of images
    stay, so that a factor of size is a zoom.
    """

    def __init__(
        self,
        kinds: Sequence[str] = (FLIP, QUARTER_TURN, TRANSLATION, SCALE),
        translation: float = 0.3,
        scale: Sequence[float] = (0.8, 1.2),
        rotation: float = 20.0,
    ) -> None:
        if not kinds or set(kinds) - set(KINDS):
            raise ValueError(f"Expected kinds among {', '.join(KINDS)}, got {list(kinds)}.")
        if not 0 <= translation < 1:
            raise ValueError(f"Expected 0 <= translation < 1, got {translation}.")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"Expected scale as smallest and largest factor above 0, got {list(scale)}.")
        if rotation < 0:
            raise ValueError(f"Expected rotation >= 0, got {rotation}.")
        self.kinds = tuple(kinds)
        self.translation = translation
        self.scale = tuple(scale)
        self.rotation = rotation

    def __call__(self, batch: int, generator: torch.Generator | None = None) -> SpatialView:
        """Draw for ``batch`` images, from torch's own generator if none is given."""

        def uniform(*size: int) -> Tensor:
            return torch.rand(size, generator=generator)

        def choose(count: int) -> int:
            return int(torch.randint(count, (1,), generator=generator))

        kind = self.kinds[choose(len(self.kinds))]
        if kind == FLIP:
            return SpatialView(kind, axis=choose(2))
        if kind == QUARTER_TURN:
            return SpatialView(kind, turns=1 + choose(3))
        angle, shift, zoom = torch.zeros(batch), torch.zeros(batch, 2), 1.0
        if kind == ROTATION:
            angle = torch.deg2rad(self.rotation * (2 * uniform(batch) - 1))
        elif kind == TRANSLATION:
            shift = self.translation * (2 * uniform(batch, 2) - 1)
        else:
            zoom = self.scale[0] + (self.scale[1] - self.scale[0]) * float(uniform(1))
        cosine, sine = angle.cos(), angle.sin()
        rows = torch.stack((cosine, -sine), dim=1), torch.stack((sine, cosine), dim=1)
        return SpatialView(kind, matrix=torch.stack(rows, dim=1) / zoom, shift=shift)
