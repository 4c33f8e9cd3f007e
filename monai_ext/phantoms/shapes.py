"""What all computer-made bodies are drawn with: coordinates in mm, ellipses, and tissue laid over tissue."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Size = NDArray[np.float64] | float
"""A length or an angle: one number, or (D,), one a slice."""
Levels = NDArray[np.float64]
"""(D,): a number for each slice."""
FEET, HEAD = -np.inf, np.inf
"""Ends of a part that goes on beyond the picture."""


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


class Part(NamedTuple):
    """A piece of the body: one ellipse in each of some slices, drawn over all parts before it."""

    blob: Blob
    """Center, half axes and angle: (D',), one a slice."""
    slices: slice


class Body:
    """Collects the parts of one patient."""

    def __init__(self, rng: np.random.Generator, levels: Levels, scale: float) -> None:
        self.u, self.z, self.scale = rng.uniform, levels / scale, scale
        self.parts: list[Part] = []

    def add(
        self, tissue: str, low: float, high: float, x: Size, y: Size, a: Size, b: Size, angle: Size = 0.0
    ) -> None:
        """One ellipse in every slice with ``low`` <= z <= ``high``."""
        inside = (self.z >= low) & (self.z <= high)
        if not inside.any():
            return
        slices = slice(int(inside.argmax()), int(inside.argmax() + inside.sum()))
        x, y, a, b = (np.broadcast_to(v, self.z.shape)[slices] * self.scale for v in (x, y, a, b))
        angle = np.broadcast_to(angle, self.z.shape)[slices]
        self.parts.append(Part(Blob(tissue, x, y, a, b, angle), slices))

    def between(self, *points: tuple[float, float]) -> Levels:
        """A value that changes piecewise linearly along z; points (z, value) from the feet to the head."""
        return np.interp(self.z, *np.array(points).T)

    def dome(self, top: float, height: float) -> Levels:
        """Relative size of something whole up to ``top - height`` that closes at ``top``."""
        t = np.clip((self.z - top + height) / height, 0, 1)
        return np.sqrt(np.maximum(1 - t * t, 0.02))

    def ball(self, low: float, high: float) -> Levels:
        """Relative size of something that closes at both ends."""
        t = (2 * self.z - low - high) / (high - low)
        return np.sqrt(np.maximum(1 - t * t, 0.02))

    def sway(self, size: float) -> Levels:
        """A slow random deviation along z, of at most about this size."""
        phase, wavelength = self.u(0, 2 * np.pi), self.u(70, 160)
        return size * self.u(0.3, 1) * np.sin(2 * np.pi * self.z / wavelength + phase)


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
