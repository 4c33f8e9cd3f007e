"""One patient of the computer-made brains: the random numbers that say what is to be drawn.

Lengths are in mm from a point between the lateral ventricles: x to the patient's left, y to the back, z to
the head. Everything is laid out for a brain of scale 1; `Body.add` applies the patient's scale.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.phantoms.shapes import FEET, Blob, Body, Levels, Part, View

MODALITIES = ("t1", "t1ce", "t2", "flair")
SHAPE, SPACING = (96, 96, 24), (1.8, 1.8, 5.0)

Signals = NDArray[np.float64]
"""(4,): signal in each of `MODALITIES`, relative to white matter in T1."""
_SIGNALS = {
    "white": (1.00, 1.00, 0.50, 0.62),
    "gray": (0.74, 0.77, 0.64, 0.72),
    "csf": (0.26, 0.26, 1.25, 0.40),
    "cortex": (0.74, 0.80, 0.68, 1.10),  # gray matter near the surface, bright in FLAIR
    "cap": (0.86, 0.86, 0.66, 1.10),  # caps of the ventricles and spots in white matter
    "choroid": (0.60, 1.30, 0.90, 1.15),
    "vessel": (0.60, 1.40, 0.40, 0.45),
    "edema": (0.70, 0.70, 0.92, 1.18),
    "enhancing": (0.72, 1.45, 0.80, 1.08),
    "necrosis": (0.45, 0.47, 1.10, 0.85),
}


class Scan(NamedTuple):
    """How the scanner sees one modality."""

    gain: float
    sigma: float
    """Standard deviation of the noise, relative to white matter in T1."""
    bias: NDArray[np.float64]
    """(5,): coefficients of i, j, k, i^2 + j^2 and ij in the logarithm of the bias field."""


class Tumor(NamedTuple):
    """Edema around a core with an enhancing rim; lengths in mm, angles in radians."""

    side: int
    """-1 right, 1 left."""
    outline: Blob
    core: Blob
    size: Levels
    """(D,): relative size in each slice, 0 where there is no tumor."""
    rim: float
    """Thickness of the enhancing rim; 0 if nothing enhances."""
    roughness: float
    """Standard deviation of the outline, of which 1.5 at most are drawn."""
    push: float
    """Displacement of the tissue around it, relative to the distance from its center."""


class Folds(NamedTuple):
    """The folded cortex and the fissure between the hemispheres; lengths in mm."""

    cortex: float
    gap: float
    """Half width of the fluid in a fold."""
    reach: float
    """Depth of the folds."""
    bridge: Blob
    """Where the hemispheres hang together."""
    bridge_size: Levels


class Brain(NamedTuple):
    """What is to be drawn, and how the scanner sees it; lengths in mm."""

    view: View
    outline: Blob
    size: Levels
    """(D,): relative size of each slice, 0 above and below the brain."""
    folds: Folds
    parts: list[Part]
    tumor: Tumor
    tissue: dict[str, Signals]
    scans: dict[str, Scan]


def draw_brain(seed: int) -> Brain:
    """Draw anatomy, tumor and the settings of all scans of the patient ``seed``."""
    rng = np.random.default_rng([seed, 5])
    u, scale = rng.uniform, rng.uniform(0.94, 1.05)
    levels = np.arange(-57.5, 60, SPACING[2]) + u(-2, 2)
    body = Body(rng, levels, scale)
    outline = Blob("", 0, 0, u(62, 67) * scale, u(75, 80) * scale)
    size = body.between(
        (-61, 0), (-55, 0.5), (-40, 0.8), (-15, 0.97), (5, 1), (28, 0.93), (45, 0.72), (55, 0.42), (58, 0)
    )
    _add_deep_gray(body)
    _add_hindbrain(body)
    _add_ventricles(body)
    _add_confounders(body)
    tumor = _draw_tumor(body, outline, size)
    waves = np.stack([u(-1, 1, 6), u(-1, 1, 6), u(0, 2 * np.pi, 6), u(0.3, 0.8, 6)])
    view = View(SHAPE, SPACING, np.deg2rad(u(-6, 6)), u(-2, 2, size=2), waves)
    bridge = Blob("", 0, 2, 26 * scale, 36 * scale)
    folds = Folds(u(3.2, 4.2), u(0.3, 0.9), u(15, 21), bridge, body.ball(-34, 34))
    return Brain(view, outline, size, folds, body.parts, tumor, _draw_tissue(rng), _draw_scans(rng))


def _draw_tissue(rng: np.random.Generator) -> dict[str, Signals]:
    """Signals of each tissue; the fluid in a necrotic core may be dark or bright in FLAIR."""
    tissue = {name: np.array(signal) * rng.uniform(0.95, 1.05, 4) for name, signal in _SIGNALS.items()}
    for name in ("cortex", "cap"):
        tissue[name][3] *= rng.uniform(0.9, 1.12)
    tissue["edema"][3] *= rng.uniform(0.93, 1.12)
    tissue["necrosis"][3] *= rng.uniform(0.6, 1.35)
    return tissue


def _draw_scans(rng: np.random.Generator) -> dict[str, Scan]:
    size = np.array([0.12, 0.12, 0.1, 0.12, 0.06])
    return {
        name: Scan(np.exp(rng.uniform(np.log(150), np.log(1500))), rng.uniform(0.02, 0.05), size * u)
        for name, u in zip(MODALITIES, rng.uniform(-1, 1, (4, 5)), strict=True)
    }


def _add_deep_gray(body: Body) -> None:
    """Thalamus, putamen and head of the caudate nucleus on both sides."""
    for side in (-1, 1):
        body.add("gray", -8, 18, side * 11, 10, 8.5 * body.ball(-9, 19), 14)
        body.add("gray", -10, 16, side * 26, -4, 5.5 * body.ball(-11, 17), 16, side * -0.15)
        body.add("gray", -6, 22, side * 14, -20, 5.5, 8.5 * body.ball(-7, 23), side * 0.3)


def _add_hindbrain(body: Body) -> None:
    """Cerebellum and brain stem with the fluid around them."""
    u, z = body.u, body.z
    top, back = u(-28, -22), u(36, 40)
    size = body.dome(top, 25) * np.clip(1 - ((-40 - z) / 30) ** 2 * (z < -40), 0.4, 1)
    for tissue, less in (("csf", 0.0), ("gray", 2.5)):
        body.add(tissue, FEET, top, 0, back, 44 * size - less, 25 * size - less)
    for side in (-1, 1):
        body.add("white", FEET, top - 8, side * 20 * size, back, 14 * size, 11 * size, side * 0.4)
    body.add("csf", FEET, -16, 0, 4, 17, 14)
    body.add("white", FEET, -14, 0, 6, 14.5, 12)
    body.add("csf", -45, -26, 0, 19, u(5, 8), 4)


def _add_ventricles(body: Body) -> None:
    """Lateral ventricles with horns, of about one size in a patient, and the third ventricle."""
    u, w = body.u, body.u(0.7, 1.5)
    for side in (-1, 1):
        near, own = side * (4 + 4 * w), w * u(0.85, 1.2)
        body.add("csf", 6, 30, near, -2, 4.5 * own * body.ball(4, 31), 27 * body.ball(-4, 31))
        body.add("csf", -4, 24, near + side * 2, -25, 3.5 * own, 10 * body.ball(-6, 26), side * 0.35)
        body.add("csf", -6, 18, side * 24, 33, 4.5 * own * body.ball(-8, 20), 14, side * -0.35)
        body.add("csf", -24, -6, side * 32, 16, 2.2 * own, 9, side * 0.2)
    body.add("csf", -14, 6, 0, 4, 1.8 * w, 12)


def _add_confounders(body: Body) -> None:
    """Healthy tissue that is as bright as a tumor: caps, spots, choroid plexus and vessels."""
    u, caps, plexus = body.u, body.u(0.5, 1.35), body.u(0.7, 1.3)
    for side in (-1, 1):
        body.add("cap", -4, 22, side * 13, -37, 6 * caps * u(0.8, 1.2), 5 * caps, side * 0.4)
        body.add("cap", -4, 18, side * 29, 48, 6 * caps * u(0.8, 1.2), 7 * caps, side * 0.3)
        body.add("cap", 22, 33, side * u(9, 14), u(-10, 14), 3.5 * caps, 18 * caps)
        body.add("choroid", -2, 14, side * 23, 30, 3 * plexus, 6 * plexus, side * -0.35)
    body.add("choroid", -2, 6, 0, -4, 1.5 * plexus, 4)
    for tissue, count, radius in (("cap", u(3, 12), 3.5), ("vessel", u(15, 30), 1.6)):
        for _ in range(int(count)):
            far = u(0.35, 0.65) if tissue == "cap" else u(0.8, 0.95)
            angle, z, r = u(0, 2 * np.pi), u(-45, 42), radius * u(0.6, 1.3)
            x, y = (
                far * half * np.sqrt(1 - (z / 60) ** 2) for half in (62 * np.cos(angle), 75 * np.sin(angle))
            )
            body.add(tissue, z - 1.5 * r, z + 1.5 * r, x, y, r, r * u(0.7, 1.3), u(0, np.pi))


def _draw_tumor(body: Body, brain: Blob, brain_size: Levels) -> Tumor:
    """A tumor in 6 to 10 neighboring slices, which are 25 to 42 % of them."""
    u = body.u
    count, side = int(u(6, 11)), int(u(0, 2)) * 2 - 1
    inside = np.flatnonzero((body.z > -42) & (body.z < 48))
    low = int(u(inside[0], inside[-1] + 2 - count))
    t = (np.arange(count) + 0.5) / count * 2 - 1
    size = np.zeros_like(body.z)
    size[low : low + count] = (1 - t * t) ** 0.35
    far, angle = u(0.4, 0.62) * brain_size[low : low + count].min(), u(-1.1, 1.1)
    x = side * max(16.0, float(far * brain.a * np.cos(angle)))
    y, a, turn, core = (
        far * brain.b * np.sin(angle),
        u(18, 25) * (8 / count) ** 0.4,
        u(-0.6, 0.6),
        u(0.4, 0.65),
    )
    b = a * u(0.9, 1.2)
    outline = Blob("edema", x, y, a, b, turn)
    inner = Blob("enhancing", x + u(-4, 4), y + u(-4, 4), core * a, core * b, turn)
    rim = u(2.5, 5) if u() < 0.8 else 0.0
    return Tumor(side, outline, inner, size, rim, u(2, 4.5), u(0, 0.3))
