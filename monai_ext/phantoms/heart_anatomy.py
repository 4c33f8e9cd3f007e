"""One patient of the computer-made hearts: the random numbers that say what is to be drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.phantoms.shapes import Blob, View

_GROUPS = {  # cavity radius at the base, wall, systolic / diastolic radius, size of the right ventricle
    "NOR": ((22, 26), (7, 9.5), (0.60, 0.72), (0.9, 1.05)),
    "DCM": ((28, 33), (6.5, 8), (0.82, 0.92), (0.85, 1.0)),
    "HCM": ((19, 23), (12, 16), (0.50, 0.65), (0.8, 1.0)),
    "MINF": ((24, 29), (7, 9), (0.75, 0.88), (0.85, 1.0)),
    "RV": ((20, 24), (7, 9), (0.62, 0.75), (1.15, 1.35)),
}


class Scan(NamedTuple):
    """Scanner settings and what tissue looks like; lengths in mm, signals relative to bright blood."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    rotation: float
    center: NDArray[np.float64]
    tissue: dict[str, float]
    gain: float
    gamma: float
    coil: NDArray[np.float64]
    slice_gain: NDArray[np.float64]
    sigma: float
    waves: NDArray[np.float64]

    @property
    def view(self) -> View:
        """Where the voxels lie, in mm from the left ventricle."""
        center = self.center + np.array([22.0, 0.0])
        return View(self.shape, self.spacing, self.rotation, center, self.waves)


class Heart(NamedTuple):
    """Shape of the two ventricles; lengths in mm, angles in radians, the rest are ratios."""

    group: str
    slices: tuple[int, int]
    cavity: float
    wall: float
    systole: float
    right: float
    aspect: float
    angle: float
    septum: float
    bend: float
    offset: NDArray[np.float64]
    tilt: NDArray[np.float64]
    shortening: float
    papillary: NDArray[np.float64]


def draw_patient(seed: int) -> tuple[Scan, Heart, list[Blob]]:
    """Draw scanner settings, ventricles and surrounding organs of the patient ``seed``."""
    rng = np.random.default_rng([seed, 0])
    scan = _draw_scan(rng)
    return scan, _draw_heart(rng, scan.shape[2]), _draw_organs(rng)


def _draw_scan(rng: np.random.Generator) -> Scan:
    u, depth = rng.uniform, int(rng.integers(6, 13))
    spacing = u(1.2, 1.8)
    rows, columns = (int(n) for n in np.clip(np.round(u((270, 230), (360, 310)) / spacing), 144, 224))
    rows += 8 if rows == columns <= 216 else -8 if rows == columns else 0
    blood, fat = u(0.65, 1.0), u(0.7, 1.15)
    tissue = {
        "air": 0.0,
        "lung": u(0.03, 0.14),
        "bone": u(0.1, 0.35),
        "muscle": u(0.2, 0.36),
        "liver": u(0.2, 0.6),
    }
    tissue |= {"blood": blood, "right": blood * u(0.75, 1.05), "fat": fat, "bowel": blood * u(0.8, 1.1)}
    muscle = blood * u(0.27, 0.45)
    tissue |= {"myocardium": muscle, "spleen": u(0.3, 0.75), "pericardium": muscle * u(1.5, 2.2)}
    return Scan(
        shape=(rows, columns, depth),
        spacing=(spacing, spacing, u(8.0, 10.0)),
        rotation=np.deg2rad(u(-20, 20)),
        center=u(-18, 18, size=2),
        tissue=tissue,
        gain=u(250, 1100),
        gamma=u(0.8, 1.25),
        coil=u(-0.35, 0.35, size=5) - 0.25 * np.eye(5)[1],  # brighter toward the chest, where the coil lies
        slice_gain=u(0.9, 1.1, size=depth),
        sigma=u(0.012, 0.04),
        waves=np.stack([u(-1, 1, 6), u(-1, 1, 6), u(0, 2 * np.pi, 6), u(0.4, 1.0, 6)]),
    )


def _draw_heart(rng: np.random.Generator, depth: int) -> Heart:
    u, group = rng.uniform, str(rng.choice(list(_GROUPS)))
    cavity, wall, systole, right = (u(*interval) for interval in _GROUPS[group])
    scale, above = u(0.88, 1.1), int(rng.random() < 0.6)
    below = int(rng.random() < 0.6) + int(depth > 9 and rng.random() < 0.4)
    return Heart(
        group=group,
        slices=(above, depth - below),
        cavity=cavity * scale,
        wall=wall * scale,
        systole=systole,
        right=right * scale,
        aspect=u(0.9, 1.1),
        angle=u(0, np.pi),
        septum=np.deg2rad(u(185, 220)),
        bend=u(0.003, 0.009),
        offset=u(-1, 1, size=2)
        * (0.33 if group in ("HCM", "MINF") else 0.15),  # thin on one side, thick on the other
        tilt=u(-10, 10, size=2),
        shortening=u(0.06, 0.16),
        papillary=np.concatenate([u(0.3, 1.1, 1), u(2.2, 3.2, 1), u(0.14, 0.24, 2), u(0.5, 0.62, 2)]),
    )


def _draw_organs(rng: np.random.Generator) -> list[Blob]:
    u = rng.uniform
    cx, cy, a, b = u(-45, -15), u(25, 40), u(140, 180), u(105, 125)
    fat, wall = u(7, 24), u(9, 16)
    body = [("fat", 0.0), ("muscle", fat), ("lung", fat + wall)]
    blobs = [Blob("fat", cx + s * (a + u(30, 50)), cy + u(0, 50), u(22, 34), u(30, 45)) for s in (-1, 1)]
    blobs += [Blob("muscle", p.x, p.y, 0.7 * p.a, 0.7 * p.b) for p in blobs]
    blobs += [Blob(tissue, cx, cy, a - inside, b - inside) for tissue, inside in body]
    for angle in u(0.1, 0.3) + np.arange(0, 2 * np.pi, u(0.42, 0.55)):  # ribs, cut obliquely
        ring = fat + 0.7 * wall
        x, y = cx + (a - ring) * np.cos(angle), cy + (b - ring) * np.sin(angle)
        blobs.append(
            Blob("bone", x, y, u(8, 13), u(3, 4.5), np.arctan2(b * np.cos(angle), -a * np.sin(angle)))
        )
    for x, y in zip(u(20, 100, 14), u(-50, 70, 14), strict=True):  # lung vessels
        blobs.append(Blob("bowel", x, y, *u(1.2, 2.8, size=2)))
    liver = Blob("liver", u(-95, -65), u(60, 80), u(60, 80), u(42, 58), u(-0.3, 0.3), u(0.1, 0.5))
    blobs += [Blob("pericardium", -20, u(-35, -15), u(60, 72), u(38, 50), u(0.2, 0.7), -0.3), liver]
    for x, y in zip(liver.x + u(-40, 40, 7), liver.y + u(-28, 28, 7), strict=True):  # hepatic veins
        blobs.append(Blob("blood", x, y, u(2.5, 9), u(2.5, 5), u(0, np.pi)))
    blobs.append(Blob("spleen", u(80, 100), u(60, 80), u(20, 32), u(25, 40), u(-0.5, 0.5), u(-0.4, 0.6)))
    spine = u(-50, -25), cy + b - fat - u(34, 42)
    blobs += [Blob("bone", *spine, u(22, 27), u(17, 21)), Blob("spleen", *spine, u(18, 21), u(13, 16))]
    rings = [  # bright, round, walled: what a threshold or a blob detector takes for the ventricle
        (u(0, 20), u(68, 80), u(9, 13), u(1.5, 3), "blood"),
        (u(38, 60), u(66, 84), u(15, 26), u(3, 8), "bowel"),
        (u(-80, -55), u(-20, 10), u(10, 15), u(1.5, 4), "blood"),
        (spine[0], spine[1] + u(28, 32), u(7, 9), u(2, 4), "bowel"),
    ]
    for x, y, radius, ring, tissue in rings:
        aspect, angle, growth = u(0.8, 1.2), u(0, np.pi), u(-0.5, 0.5)
        blobs.append(Blob("muscle", x, y, radius * aspect + ring, radius / aspect + ring, angle, growth))
        blobs.append(Blob(tissue, x, y, radius * aspect, radius / aspect, angle, growth))
    return blobs
