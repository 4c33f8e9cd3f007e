"""How slices of images, label maps and maps are drawn, the same in every picture."""

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from monai_ext.keys import UNLABELED

matplotlib.use("Agg")

COLORS = ListedColormap(["#3b6fd4", "#e4572e", "#f3c13a", "#2fbf71", "#b04ae0", "#20c5d8"])
"""Of the classes by index; background, which is drawn only where somebody marked it, is blue."""

MARKS = "weak label"
"""Column of a label map of which a few voxels are marked."""
MAP = "map"
"""Column of a map in [0, 1] instead of classes."""


def draw(axis: Axes, image: np.ndarray, label: np.ndarray | None, title: str) -> None:
    """An image (H, W) in gray, and a column's label map (H, W) in colors: marks as dots, others filled.

    The picture is square, black beside an image that is not.
    """
    axis.imshow(image.T, cmap="gray", vmax=np.percentile(image, 99.5))
    (width, height), half = image.shape, max(image.shape) / 2
    axis.set_xlim((width - 1) / 2 - half, (width - 1) / 2 + half)
    axis.set_ylim((height - 1) / 2 + half, (height - 1) / 2 - half)
    axis.set_facecolor("black")
    axis.set_xticks([])
    axis.set_yticks([])
    if title == "image":
        return
    if label is None:
        write_on(axis, "none")
    elif title == MAP:
        axis.imshow(label.T, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    elif title == MARKS:
        x, y = np.nonzero(label != UNLABELED)
        axis.scatter(x, y, c=label[x, y] % COLORS.N, cmap=COLORS, vmin=0, vmax=COLORS.N - 1, s=6)
    else:
        hidden = (label == UNLABELED) | (label == 0)
        shown = np.ma.masked_array(label, hidden).T % COLORS.N
        axis.imshow(shown, cmap=COLORS, vmin=0, vmax=COLORS.N - 1, alpha=0.5, interpolation="nearest")


def write_on(axis: Axes, text: str) -> None:
    """A few words at the lower edge of a picture."""
    black = {"facecolor": "black", "linewidth": 0, "pad": 2}
    axis.text(0.5, 0.04, text, color="white", ha="center", transform=axis.transAxes, bbox=black)


def side_around(mask: np.ndarray, margin: float = 1.2) -> int:
    """Side of a square around an object (H, W) that exceeds it by ``margin`` times its size on every side.

    At most the longer side of the mask, which is also that of an empty one.
    """
    if not mask.any():
        return max(mask.shape)
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
    return min(math.ceil((1 + 2 * margin) * (high - low + 1).max()), max(mask.shape))


def surroundings(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """A square around an object (H, W), or else around the center, moved into the mask or cut off by it."""
    where = np.argwhere(mask if mask.any() else np.ones_like(mask))
    center = (where.min(axis=0) + where.max(axis=0) + 1) / 2
    starts = [
        int(np.clip(c - side / 2, 0, max(n - side, 0))) for c, n in zip(center, mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)
