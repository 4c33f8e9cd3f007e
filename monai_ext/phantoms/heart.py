"""Computer-made hearts in the layout of the ACDC challenge, for tests and demonstrations without patients.

What is modeled: a stack of short-axis slices as cine MR shows them. A left ventricle (myocardial ring around
the cavity, papillary muscles and trabeculae inside it) tapers from base to apex beside a crescent of a right
ventricle. Both sit in a torso of fat, chest wall, ribs, lungs, liver, stomach, spleen, aorta and spine;
several of these are as bright and as round as the cavity. The slice above the base shows atria, those below
the apex no heart. At end systole the cavity is smaller, the wall thicker (its area in a slice grows a little)
and the base lower. Patients differ in disease group, size, position, rotation, contrast, coil shading, noise,
matrix and spacing.

    image = | gain * coil(r) * signal(r)**gamma * texture(r) + n1 + i * n2 |,  n1, n2 ~ N(0, (gain * sigma)^2)

is Rician: positive in air, close to Gaussian in tissue. Lengths are in mm. What is not modeled: motion, flow,
banding, infarct contrast. No result on a phantom is a clinical result or says anything about patients.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_ext.phantoms.heart_anatomy import Heart, Scan, draw_patient
from monai_ext.phantoms.shapes import Array, Blob, coordinates, ellipse, paint, window

Frame = Literal["ED", "ES"]

BACKGROUND, RIGHT_VENTRICLE, MYOCARDIUM, LV_CAVITY = range(4)
FRAME_NUMBERS: dict[Frame, int] = {"ED": 1, "ES": 12}


def heart_phantom(seed: int, frame: Frame) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw one patient's short-axis stack at end diastole or end systole.

    The two frames of a seed share anatomy and scanner settings; contraction and noise differ.

    Args:
        seed: The patient, an integer >= 0. Equal arguments give equal arrays.
        frame: ``"ED"`` or ``"ES"``.

    Returns:
        Image (H, W, D) int16 >= 0 and label (H, W, D) uint8 with 0 background, 1 right ventricle,
        2 myocardium and 3 left-ventricular cavity. H and W differ, both in [144, 224]; D in [6, 12], base
        first.

    Raises:
        ValueError: If the seed is negative or the frame is neither of the two.
    """
    if seed < 0 or frame not in FRAME_NUMBERS:
        raise ValueError(f"Expected seed >= 0 and frame 'ED' or 'ES', got {seed} and {frame!r}.")
    scan, heart, organs = draw_patient(seed)
    x, y = coordinates(scan.view)
    level, start = np.arange(scan.shape[2]), heart.slices[0]
    t = (level - start + 0.5) / (heart.slices[1] - start)  # 0 base, 1 apex
    signal = np.full(scan.shape, scan.tissue["air"], np.float32)
    for organ in organs:
        size = np.clip(1 + organ.growth * (t - 0.5), 0.4, 1.6)
        box = window(scan.view, organ, 1.6)
        paint(signal[box], ellipse(x[box], y[box], organ, size), scan.tissue[organ.tissue])
    label, box = np.zeros(scan.shape, np.uint8), window(scan.view, Blob("", -20, 0, 95, 95))
    label[box] = _paint_heart(signal[box], x[box], y[box], t, scan, heart, frame)
    noise = np.random.default_rng([seed, FRAME_NUMBERS[frame]])
    return _acquire(signal, scan, noise), label


def _paint_heart(
    signal: Array, x: Array, y: Array, t: NDArray[np.float64], scan: Scan, heart: Heart, frame: Frame
) -> NDArray[np.uint8]:
    """Paint the heart over the signal in place and return its label."""
    cavity, wall_area, right = heart.cavity, (heart.cavity + heart.wall) ** 2 - heart.cavity**2, heart.right
    if frame == "ES":
        cavity, right = cavity * heart.systole, right * np.sqrt(heart.systole)
        t, wall_area = (t - heart.shortening) / (1 - heart.shortening), 1.06 * wall_area
    outer = float(np.sqrt(cavity**2 + wall_area))
    s = np.clip(t, 0, 1)
    x, y = (c - np.float32(d) * s.astype(np.float32) for c, d in ((x, heart.tilt[0]), (y, heart.tilt[1])))
    shift = heart.offset * (outer - cavity)
    axes = heart.aspect, 1 / heart.aspect, heart.angle
    epi = ellipse(x, y, Blob("", 0, 0, outer * axes[0], outer * axes[1], axes[2]), 1 - 0.55 * s**2.2)
    endo = ellipse(
        x, y, Blob("", shift[0], shift[1], cavity * axes[0], cavity * axes[1], axes[2]), 1 - 0.68 * s**2
    )
    rv = _right_ventricle(x, y, s, outer, right, heart)

    inside = (t > 0) & (t < 1)
    label = np.zeros(signal.shape, np.uint8)
    crescent = (rv < 0) & (epi >= 0) & inside & (t < 0.88)
    label[ndimage.binary_opening(crescent, np.ones((2, 2, 1)))] = (
        RIGHT_VENTRICLE  # without its one-voxel tips
    )
    label[(epi < 0) & inside] = MYOCARDIUM
    label[(endo < 0) & inside] = LV_CAVITY

    tissue, far = scan.tissue, np.where(inside, 0, 1e3).astype(np.float32)
    rough = (
        np.sin(x * np.float32(0.8)) * np.sin(y * np.float32(0.7)) * np.float32(1.4)
    )  # trabeculae, image only
    paint(signal, np.minimum(rv, epi) - 3 + far, tissue["myocardium"])
    paint(signal, rv + rough + far, tissue["right"])
    paint(signal, epi + far, tissue["myocardium"])
    paint(signal, endo + np.float32(0.8) * rough + far, tissue["blood"])
    for angle, radius, place in heart.papillary.reshape(3, 2).T:
        px, py = shift + place * cavity * np.array([np.cos(angle), np.sin(angle)]) * 0.9
        muscle = ellipse(x, y, Blob("", px, py, radius * cavity, 0.8 * radius * cavity, angle))
        paint(
            signal, muscle + np.where((t > 0.2) & (t < 0.7), 0, 1e3).astype(np.float32), tissue["myocardium"]
        )
    above = np.where(t <= 0, 0, 1e3).astype(np.float32)
    paint(signal, epi + 6 + above, 0.5 * (tissue["myocardium"] + tissue["blood"]))  # atria: bright, thin wall
    paint(signal, np.minimum(epi + 8, rv + 6) + above, tissue["blood"])
    return label


def _right_ventricle(
    x: Array, y: Array, s: NDArray[np.float64], outer: float, right: float, heart: Heart
) -> Array:
    """Distance to an ellipse on the septal side, bent around the left ventricle."""
    c, d = np.float32(np.cos(heart.septum)), np.float32(np.sin(heart.septum))
    away, along = c * x + d * y, c * y - d * x
    away = away + np.float32(heart.bend) * along * along
    blob = Blob("", 0.92 * outer, 0, 30 * right, 38 * right)
    size = 1 - 0.75 * s**2
    return ellipse(away - np.float32(blob.x) * (size - 1).astype(np.float32), along, blob, size)


def _acquire(signal: Array, scan: Scan, rng: np.random.Generator) -> NDArray[np.int16]:
    rows, columns, _ = scan.shape
    i, j = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None]
    coil = np.exp(
        np.tensordot(scan.coil, np.stack(np.broadcast_arrays(i, j, i * j, i * i - 0.3, j * j - 0.3)), 1)
    )
    texture = ndimage.gaussian_filter(rng.standard_normal(scan.shape, np.float32), (1.3, 1.3, 0))
    shading = (scan.gain * coil[..., None] * scan.slice_gain).astype(np.float32)
    clean = shading * np.maximum(signal, 0) ** np.float32(scan.gamma) * (1 + np.float32(0.25) * texture)
    noise = rng.standard_normal((2, *scan.shape), np.float32) * np.float32(scan.sigma * scan.gain)
    return np.rint(np.sqrt((clean + noise[0]) ** 2 + noise[1] ** 2)).astype(np.int16)
