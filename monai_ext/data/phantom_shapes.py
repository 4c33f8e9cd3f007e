"""What all computer-made bodies are drawn with: coordinates in mm, ellipses, and tissue laid over tissue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Size = NDArray[np.float64] | float
"""A length or an angle: one number, or (D,), one a slice."""


class View(NamedTuple):
    """Where the voxels lie in a body, and how its outlines are bent; lengths in mm, angles in radians."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    rotation: float
    center: NDArray[np.float64]
    """The body's origin, from the middle of a slice."""
    waves: NDArray[np.float64]
    """(4, N): wave number along x and y, phase and amplitude of each wave."""


class Blob(NamedTuple):
    """An ellipse of one tissue: center and half axes in mm from the origin, angle in radians."""

    tissue: str
    x: Size
    y: Size
    a: Size
    b: Size
    angle: Size = 0.0
    growth: float = 0.0  # relative change of size from the first to the last slice


def coordinates(view: View) -> tuple[Array, Array]:
    """Millimeters from the body's origin, rotated and bent by waves so that no outline is an ellipse.

    Returns:
        x and y of each voxel, (H, W, D).
    """
    rows, columns, depth = view.shape
    i = (np.arange(rows) - rows / 2)[:, None, None] * view.spacing[0] - view.center[0]
    j = (np.arange(columns) - columns / 2)[None, :, None] * view.spacing[1] - view.center[1]
    x = i * np.cos(view.rotation) + j * np.sin(view.rotation)
    y = j * np.cos(view.rotation) - i * np.sin(view.rotation)
    z = np.arange(depth) * view.spacing[2]
    bent = [np.broadcast_to(c, view.shape).astype(np.float32) for c in (x, y)]
    for n, (kx, ky, phase, size) in enumerate(view.waves.T):
        wavelength = 45.0 if n < 2 else 110.0
        argument = (2 * np.pi * (kx * x + ky * y + 0.4 * z) / wavelength + phase).astype(np.float32)
        bent[n % 2] += np.float32(size * wavelength / 40) * np.sin(argument)
    return bent[0], bent[1]


def window(view: View, blob: Blob, stretch: float = 1.0) -> tuple[slice, slice]:
    """Rows and columns that hold an ellipse of ``stretch`` times its size, and 12 mm for waves and edges."""
    c, s = np.cos(view.rotation), np.sin(view.rotation)
    ends = np.array([[np.min(v), np.max(v)] for v in (blob.x, blob.y)])
    (x, y), half = ends.mean(axis=1), np.diff(ends).max() / 2 * np.sqrt(2)
    radius = half + stretch * max(np.max(blob.a), np.max(blob.b))
    middle = np.array([x * c - y * s, x * s + y * c]) + view.center
    reach = np.array([-1, 1])[:, None] * (radius + 12)
    edges = (middle + reach) / view.spacing[:2] + np.array(view.shape[:2]) / 2
    low, high = np.clip(edges, 0, None).astype(int)
    return slice(low[0], high[0] + 1), slice(low[1], high[1] + 1)


def ellipse(x: Array, y: Array, blob: Blob, size: Size = 1.0) -> Array:
    """About the distance in mm to the outline, negative inside; ``size`` scales each slice."""
    c, s = np.float32(np.cos(blob.angle)), np.float32(np.sin(blob.angle))
    dx, dy = x - np.float32(blob.x), y - np.float32(blob.y)
    p, q = (c * dx + s * dy) / np.float32(blob.a), (c * dy - s * dx) / np.float32(blob.b)
    distance: Array = (np.sqrt(p * p + q * q) - np.asarray(size, np.float32)) * np.float32(
        np.minimum(blob.a, blob.b)
    )
    return distance


def paint(signal: Array, distance: Array, value: float, edge: float = 2.5) -> None:
    """Lay tissue over the signal in place, mixing across an edge of this width in mm (partial volume)."""
    cover = np.clip(0.5 - distance / np.float32(edge), 0, 1)
    signal += cover * (np.float32(value) - signal)
