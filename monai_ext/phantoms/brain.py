"""Computer-made brains with a tumor as four MR modalities show them, for tests and demonstrations.

What is modeled: axial slices of a brain without skull, exactly 0 outside it. White matter under a folded
cortex, deep gray matter, ventricles, cerebellum and brain stem have the contrast of T1, T1 with contrast
agent, T2 and FLAIR. A tumor of irregular shape (edema around a core, whose rim mostly enhances) lies in one
hemisphere, in 25 to 42 % of the slices, and pushes the tissue around it aside. Healthy tissue is about as
bright as the tumor: in FLAIR patches of cortex, caps of the ventricles, spots in white matter and choroid
plexus, in T1 with contrast agent vessels and choroid plexus, in T2 all fluid. Patients differ in size,
rotation, shape, contrast, gain, bias field and noise; all modalities of a patient share one grid.

    image = | gain * bias(r) * signal(r) * texture(r) + n1 + i * n2 |,  n1, n2 ~ N(0, (gain * sigma)^2)

is Rician. Lengths are in mm; slices are thicker and pixels larger than those of BraTS, which makes the
volumes small. What is not modeled: motion, hemorrhage, surgery, several tumors, tumors across the midline. No
result on a phantom is a clinical result or says anything about patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.phantoms.brain_anatomy import MODALITIES, Brain, Scan, Tumor, draw_brain
from monai_ext.phantoms.shapes import Array, View, coordinates, ellipse, paint, window

NECROSIS, EDEMA, ENHANCING = 1, 2, 4
"""Values of the parts of a tumor in the label, as in BraTS; 0 is everything else."""
Box = tuple[slice, ...]


class Layer(NamedTuple):
    """Tissue that is laid over all layers before it."""

    tissue: str
    distance: Array
    """About the distance in mm to its outline, negative inside."""
    box: Box = ()
    """The voxels that ``distance`` is about; all of them if empty."""


def brain_phantom(
    seed: int, modalities: Sequence[str] = MODALITIES
) -> tuple[dict[str, NDArray[np.int16]], NDArray[np.uint8]]:
    """Draw one patient's modalities.

    Args:
        seed: The patient, an integer >= 0. Equal seeds give equal arrays.
        modalities: Which to draw, of ``"t1"``, ``"t1ce"``, ``"t2"`` and ``"flair"``; a modality is the same
            whichever others are drawn.

    Returns:
        Image (96, 96, 24) int16 of each modality, > 0 in the brain and 0 outside, and label of that shape,
        uint8, with 0, 1 necrotic core, 2 edema and 4 enhancing tumor. The first axis runs to the patient's
        left, the second to the back, the third to the head.

    Raises:
        ValueError: If the seed is negative or a modality is unknown.
    """
    if seed < 0 or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"Expected seed >= 0 and modalities of {MODALITIES}, got {seed} and {modalities}.")
    brain, rng = draw_brain(seed), np.random.default_rng([seed, 6])
    x, y = coordinates(brain.view)
    depth = -ellipse(x, y, brain.outline, brain.size)
    tissue_x, tissue_y = _displace(x, y, brain.tumor)
    layers = _healthy_layers(tissue_x, tissue_y, depth, brain, rng)
    room = np.minimum(depth - 2, brain.tumor.side * tissue_x - 2)
    for layer in layers:
        if layer.tissue == "csf" and layer.box:
            room[layer.box] = np.minimum(room[layer.box], layer.distance)
    tumor, label = _tumor_layers(x, y, room, brain, rng)
    images = {}
    for name in modalities:
        channel = MODALITIES.index(name)
        signal = np.full(depth.shape, brain.tissue["white"][channel], np.float32)
        for layer in layers + tumor:
            paint(signal[layer.box], layer.distance, brain.tissue[layer.tissue][channel])
        noise = np.random.default_rng([seed, 7, channel])
        images[name] = _acquire(signal, depth > 0, brain.scans[name], brain.view, noise)
    return images, label


def _displace(x: Array, y: Array, tumor: Tumor) -> tuple[Array, Array]:
    """Where the tissue of each voxel would lie without the tumor."""
    dx, dy = x - np.float32(tumor.outline.x), y - np.float32(tumor.outline.y)
    reach = np.float32(2 * tumor.outline.a * tumor.outline.b)
    push = (tumor.push * tumor.size).astype(np.float32) * np.exp(-(dx * dx + dy * dy) / reach)
    return x - push * dx, y - push * dy


def _healthy_layers(x: Array, y: Array, depth: Array, brain: Brain, rng: np.random.Generator) -> list[Layer]:
    """The brain on white matter: cortex along surface and folds, its bright patches, fluid, and all parts."""
    view, folds = brain.view, brain.folds
    center = ellipse(x, y, folds.bridge, folds.bridge_size)
    fissure = np.maximum(np.abs(x), -center)
    sulci = _distance_to_zero(_random_field(rng, view, 4.8), view) + np.maximum(depth - folds.reach, 0)
    fluid = np.minimum(sulci - folds.gap, fissure - 1)
    gray = np.minimum(fluid, depth) - folds.cortex
    bright = np.maximum(np.maximum(gray, depth - 10), 5 * (0.4 - _random_field(rng, view, 18)))
    layers = [Layer("gray", gray), Layer("cortex", bright), Layer("csf", np.minimum(fluid, depth - 1))]
    for blob, slices in brain.parts:
        box = (*window(view, blob), slices)
        layers.append(Layer(blob.tissue, ellipse(x[box], y[box], blob), box))
    return layers


def _tumor_layers(
    x: Array, y: Array, room: Array, brain: Brain, rng: np.random.Generator
) -> tuple[list[Layer], NDArray[np.uint8]]:
    """Edema, rim and core where ``room`` > 0, and their label."""
    view, tumor = brain.view, brain.tumor
    absent = np.where(tumor.size > 0, 0, 1e3).astype(np.float32)
    rough = np.float32(tumor.roughness) * np.clip(_random_field(rng, view, 9), -1.5, 1.5)
    edema = np.maximum(ellipse(x, y, tumor.outline, tumor.size) + rough + absent, -room)
    core = (
        ellipse(x, y, tumor.core, tumor.size)
        + np.float32(0.8 * tumor.roughness) * _random_field(rng, view, 6)
        + absent
    )
    core = np.maximum(core, edema + 2.5)
    solid = core + np.float32(tumor.rim) * np.clip(1 + 0.7 * _random_field(rng, view, 8), 0, 2)
    label = np.zeros(view.shape, np.uint8)
    for distance, value in ((edema, EDEMA), (core, ENHANCING), (solid, NECROSIS)):
        label[distance < 0] = value
    return [Layer("edema", edema), Layer("enhancing", core), Layer("necrosis", solid)], label


def _random_field(rng: np.random.Generator, view: View, length_mm: float) -> Array:
    """Smooth noise of mean about 0 and standard deviation 1: white noise under a Gaussian of this width."""
    axes = [np.arange(n) * step for n, step in zip(view.shape, view.spacing, strict=True)]
    nodes = [np.arange(-2 * length_mm, axis[-1] + 2 * length_mm, length_mm) for axis in axes]
    field = rng.standard_normal([len(n) for n in nodes], np.float32)
    for axis, node in zip(axes, nodes, strict=True):  # each turn moves the first axis to the end
        weight = np.exp(-0.5 * ((node[:, None] - axis) / length_mm) ** 2)
        field = np.tensordot(field, weight.astype(np.float32), (0, 0))
    return field / field.std()


def _distance_to_zero(field: Array, view: View) -> Array:
    """About the distance in mm within a slice to the nearest zero of a smooth field."""
    slope = np.hypot(*np.gradient(field, *view.spacing[:2], axis=(0, 1)))
    return (np.abs(field) / (slope + 1e-3)).astype(np.float32)


def _acquire(
    signal: Array, brain: NDArray[np.bool_], scan: Scan, view: View, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Bias field, texture, noise, and 0 outside the brain."""
    i, j, k = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in view.shape), indexing="ij", sparse=True
    )
    bias = np.exp(
        sum(np.float32(c) * term for c, term in zip(scan.bias, (i, j, k, i * i + j * j, i * j), strict=True))
    )
    texture = 1 + np.float32(0.04) * _random_field(rng, view, 5)
    noise = rng.standard_normal((2, *view.shape), np.float32) * np.float32(scan.sigma)
    seen = np.float32(scan.gain) * np.hypot(signal * bias * texture + noise[0], noise[1])
    return np.where(brain, np.maximum(np.rint(seen), 1), 0).astype(np.int16)
