"""One patient of the computer-made thoraces: the random numbers that say what is to be drawn.

Lengths are in mm from the carina, as `thorax_surroundings` says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.phantoms.shapes import FEET, HEAD, Body, Part, View
from monai_ext.phantoms.thorax_surroundings import add_abdomen, add_skeleton, add_trunk, add_vessels


class Thorax(NamedTuple):
    """What is to be drawn, in this order, and how the scanner sees it."""

    view: View
    tissue: dict[str, float]
    """Hounsfield units of each tissue."""
    parts: list[Part]
    noise: float
    """Standard deviation of the noise in Hounsfield units."""
    shading: NDArray[np.float64]
    """(3,): drift of the values across the body in Hounsfield units."""


def draw_thorax(seed: int) -> Thorax:
    """Draw scanner settings and all organs of the patient ``seed``."""
    rng = np.random.default_rng([seed, 3])
    u, scale = rng.uniform, rng.uniform(0.88, 1.1)
    in_plane, thickness = u(2.3, 2.9), u(7.0, 9.5)
    low, high = u(-185, -160) * scale, u(100, 128) * scale
    half_axes = u(160, 190), u(108, 126)
    rows, columns = (int(2 * np.ceil((r * scale + u(12, 22)) / in_plane)) for r in half_axes)
    levels = np.arange(low, high, thickness)
    body = Body(rng, levels, scale)
    add_trunk(body, *half_axes)
    add_abdomen(body)
    add_skeleton(body, half_axes[0] - 24, half_axes[1] - 22)
    add_vessels(body)
    _add_heart(body)
    _add_aorta(body)
    _add_esophagus(body)
    _add_trachea(body)
    waves = np.stack([u(-1, 1, 6), u(-1, 1, 6), u(0, 2 * np.pi, 6), u(0.4, 1.0, 6)])
    shape, spacing = (rows, columns, len(levels)), (in_plane, in_plane, thickness)
    view = View(shape, spacing, np.deg2rad(u(-5, 5)), u(-6, 6, size=2), waves)
    return Thorax(view, _draw_tissue(rng), body.parts, u(12, 26), u(-8, 8, size=3))


def _draw_tissue(rng: np.random.Generator) -> dict[str, float]:
    """Hounsfield units; the contrast agent brightens blood by little or much."""
    u, muscle = rng.uniform, rng.uniform(45, 62)
    contrast = u(15, 110)
    soft = {"muscle": muscle, "node": muscle + u(-12, 6), "fat": u(-115, -90), "stomach": u(10, 60)}
    soft |= {"liver": muscle + u(-5, 15) + 0.4 * contrast, "spleen": muscle + u(-5, 5) + 0.5 * contrast}
    blood = {"aorta": muscle + contrast, "blood": muscle + contrast * u(0.9, 1.1)}
    blood |= {"vein": muscle + contrast * u(0.6, 1.3), "heart": muscle + contrast * u(0.35, 0.6)}
    soft["thyroid"] = muscle + u(30, 60)
    hard = {"bone": u(280, 480), "marrow": u(120, 220), "cartilage": u(90, 170)}
    air = {"lung": u(-880, -800), "trachea": u(-1000, -960), "airway": u(-1000, -940), "gas": u(-850, -350)}
    return soft | blood | hard | air | {"esophagus": muscle + u(-14, 8) + 0.1 * contrast}


def _add_heart(body: Body) -> None:
    """Muscle of the heart with its four cavities, and the fat around it."""
    u, top, size = body.u, body.u(-28, -20), body.u(0.9, 1.12)
    low = top - 100 * size
    x, y = body.between((low, 30), (top, 4)), body.between((low, -45), (top, -31))
    shape = body.between((low, 0.45), (low + 22, 0.8), (low + 50, 1), (top - 22, 0.92), (top, 0.6)) * size
    angle = u(0.35, 0.6)
    body.add("fat", low - 12, top + 12, x - 2, y - 6, 71 * shape, 53 * shape, angle)
    body.add("heart", low, top, x, y, 63 * shape, 46 * shape, angle)
    body.add("blood", low + 18, top - 30, x + 22 * size, y - 1, 24 * shape, 15 * shape, angle + 0.1)
    body.add("vein", low + 12, top - 22, x - 4, y - 22 * size, 32 * shape, 13 * shape, angle - 0.25)
    body.add("vein", low + 28, top - 8, x - 34 * size, y - 2, 15 * shape, 22 * shape, 0.1)
    body.add("blood", low + 48, top - 8, x - 8, y + 24 * size, 28 * shape, 12 * shape, 0.05)


def _add_aorta(body: Body) -> None:
    """Ascending part, arch and descending part, all of one contrast."""
    u, arch, r = body.u, body.u(16, 24), body.u(11, 14.5)
    wide, up = r * u(1.2, 1.4), arch + u(16, 22)
    side, back = 25 + u(-2, 3), 40 + u(-2, 3)
    x = body.between((-170, side - 14), (-60, side - 3), (arch, side)) + body.sway(3)
    size = body.between((-170, 0.85), (0, 1), (arch, 1.05))
    shrink, front = np.maximum(body.dome(up, 14), 0.6), -28 + u(-3, 3)
    deep, flat = u(0.93, 1.07), u(0.9, 1.05)
    for tissue, more in (("fat", 4), ("aorta", 0)):
        body.add(tissue, FEET, arch + 12, x, back, r * size + more, r * size * deep + more)
        body.add(tissue, arch, up, 2, front + 13, 23, (wide - 2) * shrink + more, 0.75)
        body.add(tissue, arch, up, side - 4, 14, (r + 1) * shrink + more, 25, -0.1)
    body.add("aorta", -46, arch + 12, body.between((-46, -3), (arch, -12)), front, wide, wide * flat)


def _add_esophagus(body: Body) -> None:
    """A tube before the spine, hardly different from muscle, here and there with gas inside."""
    u, low = body.u, body.u(-156, -142)
    x = body.between((-156, 22), (-120, 9), (-60, 1), (0, 5), (110, 1)) + body.sway(3)
    y = body.between((-156, 10), (-120, 20), (-60, 27), (0, 24), (60, 19), (110, 16)) + body.sway(1.5)
    a, b = u(7, 9.5) + body.sway(1.3), u(5, 6.8) + body.sway(0.8)
    if u() < 0.5:  # a thick wall
        z = u(-120, 20)
        thick = 1 + u(0.2, 0.5) * np.exp(-(((body.z - z) / 22) ** 2))
        a, b = a * thick, b * thick
    angle = u(-0.3, 0.3)
    body.add("fat", low, HEAD, x, y, a + 2.5, b + 2.5, angle)
    body.add("esophagus", low, 108, x, y, a, b, angle)
    body.add("muscle", 108, HEAD, x, y, 1.6 * a, b, 0)
    for _ in range(int(u(1, 5))):
        z, r = u(low, 100), u(1.2, 3)
        body.add("gas", z, z + u(10, 35), x + u(-2, 2), y, 1.3 * r, 0.8 * r)


def _add_trachea(body: Body) -> None:
    """Trachea, the two main bronchi with their continuation into the lungs, and the larynx above."""
    u, z, r, split = body.u, body.z, body.u(8.2, 10.5), body.u(-20, -15)
    x, y = body.between((0, -2), (30, -7), (110, 0)), body.between((0, 3), (110, -8))
    flat = u(0.85, 1.05)
    body.add("muscle", 0, 108, x, y, r + 2, r * flat + 2)
    body.add("trachea", 0, 108, x, y, r, r * flat)
    body.add("cartilage", 108, HEAD, x, y - 2, r + 7, r + 6)
    body.add("airway", 108, HEAD, x, y, 0.6 * r, r)
    for side, steep in ((-1, 0.85), (1, 1.15)):
        across = -2 + side * (5 + steep * np.maximum(-z, 0))
        a, b, angle = r * body.between((-40, 0.75), (0, 0.95)), r * 0.75, side * 0.2
        along = 4 + 0.25 * np.maximum(-z, 0)
        body.add("muscle", -40, 0, across, along, a + 2, b + 2, angle)
        body.add("airway", -40, split, across, along, a, b, angle)
        body.add("trachea", split, 0, across, along, a, b, angle)
