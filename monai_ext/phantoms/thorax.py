"""Computer-made thoraces as CT shows them, with four organs, for tests and demonstrations without patients.

What is modeled: axial slices from the upper abdomen to the neck, in Hounsfield units. Esophagus, heart,
trachea and aorta (ascending part, arch, descending part) lie among lungs with vessels, spine, ribs, liver,
stomach, spleen, veins, pulmonary arteries, lymph nodes and fat. The esophagus has the value of muscle, fat is
all that sets it apart; heart, aorta and the vessels beside them share the contrast agent, of which some
patients got little; the trachea is as dark as bronchi and larynx, which do not belong to it. The lowest
slices show the aorta alone, a slice above the trachea no organ. Patients differ in size, position, rotation,
shape, contrast, noise, matrix and spacing.

    image = tissue(r) + shading(r) + n,  n ~ N(0, sigma^2), correlated within a slice

Values are clipped at -1024 and rounded. Lengths are in mm; slices are thicker and pixels larger than those of
clinical CT, which makes the volumes small. What is not modeled: motion, streaks, arms, the table. No result
on a phantom is a clinical result or says anything about patients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_ext.phantoms.shapes import Array, coordinates, ellipse, paint, window
from monai_ext.phantoms.thorax_anatomy import Thorax, draw_thorax

ORGANS = {"esophagus": 1, "heart": 2, "trachea": 3, "aorta": 4}
"""Value of each organ in the label, as in SegTHOR; 0 is background."""
CONTENTS = {"blood", "vein", "gas"}
"""What may fill an organ; every other tissue that is drawn over an organ takes its place."""
AIR = -1000.0


def thorax_phantom(seed: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Draw one patient's CT.

    Args:
        seed: The patient, an integer >= 0. Equal seeds give equal arrays.

    Returns:
        Image (H, W, D) int16 in Hounsfield units and label (H, W, D) uint8 with the values of `ORGANS`. The
        first axis runs to the patient's left, the second to the back, the third to the head; H > W.

    Raises:
        ValueError: If the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"Expected seed >= 0, got {seed}.")
    thorax = draw_thorax(seed)
    x, y = coordinates(thorax.view)
    signal = np.full(thorax.view.shape, AIR, np.float32)
    label = np.zeros(thorax.view.shape, np.uint8)
    for blob, slices in thorax.parts:
        box = (*window(thorax.view, blob), slices)
        distance = ellipse(x[box], y[box], blob)
        paint(signal[box], distance, thorax.tissue[blob.tissue])
        if blob.tissue not in CONTENTS:
            label[box][distance < 0] = ORGANS.get(blob.tissue, 0)
    return _acquire(signal, thorax, np.random.default_rng([seed, 4])), label


def _acquire(signal: Array, thorax: Thorax, rng: np.random.Generator) -> NDArray[np.int16]:
    """Add shading and noise, clip and round."""
    rows, columns, _ = signal.shape
    i, j = np.linspace(-1, 1, rows)[:, None, None], np.linspace(-1, 1, columns)[None, :, None]
    drift = thorax.shading[0] * i + thorax.shading[1] * j + thorax.shading[2] * (i * i + j * j - 0.7)
    noise = ndimage.gaussian_filter(rng.standard_normal(signal.shape, np.float32), (0.7, 0.7, 0))
    noise *= np.float32(thorax.noise / noise.std())
    seen = signal + np.where(signal > -900, drift, 0).astype(np.float32) + noise
    return np.rint(np.clip(seen, -1024, 3071)).astype(np.int16)
