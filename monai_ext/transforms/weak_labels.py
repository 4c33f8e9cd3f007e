"""Weak labels from full masks: an eroded core, a point or a disc in every slice, and spots of background.

A label that an annotator would give in seconds is imitated on every slice by itself. Each slice and class
has its own random state, derived from ``(seed, case, slice, class)`` only, so that a label neither depends on
the order of processing nor on the other slices.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_ext.keys import UNLABELED

Mask = NDArray[np.bool_]
Strategy = Literal["erosion", "random", "centroid"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)


def erosion_core(mask: NDArray[Any], max_iterations: int = 10) -> Mask:
    """Core of a mask: as many erosions by a 3 x 3 box as leave something, at most ``max_iterations``.

    A mask that the first erosion would empty is returned whole.

    Args:
        mask: (H, W), nonzero inside; the outside of the image counts as background.
        max_iterations: upper limit of the number of erosions, >= 0; each takes one pixel off every border.

    Returns:
        (H, W) bool, a subset of ``mask``, empty only if ``mask`` is.

    Example:
        >>> erosion_core(np.ones((5, 5)))[2]
        array([False, False,  True, False, False])
    """
    core = _as_mask(mask)
    if max_iterations < 0:
        raise ValueError(f"Expected max_iterations >= 0, got {max_iterations}.")
    for _ in range(max_iterations):
        smaller = ndimage.binary_erosion(core, np.ones((3, 3), dtype=bool))
        if not smaller.any():
            break
        core = smaller
    return core


def random_point(mask: NDArray[Any], rng: np.random.Generator, width: int = 4) -> Mask:
    """Disc of ``width`` around a random pixel of the mask, cut off at the mask's border.

    Args:
        mask: (H, W), nonzero inside.
        rng: source of the pixel.
        width: the disc's extent in pixels; it covers pixels up to (width + 1) / 2 from its center
            (4: a 5 x 5 box without its corners, 0: the pixel alone).

    Returns:
        (H, W) bool, a subset of ``mask``, empty only if ``mask`` is.
    """
    mask = _as_mask(mask)
    pixels = np.argwhere(mask)
    if not len(pixels):
        return mask
    return mask & _disc(mask.shape, pixels[rng.integers(len(pixels))], width)


def centroid_disc(mask: NDArray[Any], width: int = 4) -> Mask:
    """Disc of ``width`` around the center of mass, cut off at the mask's border; the whole mask if it misses.

    Args:
        mask: (H, W), nonzero inside.
        width: as in :func:`random_point`.

    Returns:
        (H, W) bool, a subset of ``mask``, empty only if ``mask`` is.
    """
    mask = _as_mask(mask)
    if not mask.any():
        return mask
    disc = mask & _disc(mask.shape, np.argwhere(mask).mean(axis=0).round(), width)
    return disc if disc.any() else mask


def background_spots(
    foreground: NDArray[Any], rng: np.random.Generator, count: int, ring: tuple[float, float] | None = None
) -> Mask:
    """Single pixels of the background, drawn without replacement.

    Args:
        foreground: (H, W), nonzero wherever a pixel is not background.
        rng: source of the pixels.
        count: how many pixels, >= 0; all candidates are taken where there are fewer.
        ring: (near, far), the band of Euclidean distances in pixels from the foreground, ends included, where
            spots may lie; None or a slice without foreground: anywhere on the background.

    Returns:
        (H, W) bool, disjoint from ``foreground``.
    """
    foreground = _as_mask(foreground)
    if count < 0:
        raise ValueError(f"Expected count >= 0, got {count}.")
    if ring is not None and not 0 <= ring[0] <= ring[1]:
        raise ValueError(f"Expected ring (near, far) with 0 <= near <= far, got {ring}.")
    candidates = ~foreground
    if ring is not None and foreground.any():
        distance = ndimage.distance_transform_edt(candidates)
        candidates &= (distance >= ring[0]) & (distance <= ring[1])
    pixels = np.flatnonzero(candidates)
    spots = np.zeros(foreground.shape, dtype=bool)
    spots.flat[rng.choice(pixels, min(count, len(pixels)), replace=False)] = True
    return spots


def weak_label(
    label: NDArray[Any],
    classes: Iterable[int],
    strategy: Strategy,
    seed: int,
    case: str,
    background: int = 0,
    ring_spots: int = 0,
    ring: tuple[float, float] = (1, 5),
    max_core_voxels: int | None = None,
) -> NDArray[np.uint8]:
    """Weak label of a volume, slice by slice: a few voxels of each class and of the background.

    Args:
        label: (H, W, D) integers, the full mask; slices lie along the last axis and 0 is background.
        classes: the foreground values to mark, each in 1..254.
        strategy: ``"erosion"`` (:func:`erosion_core`), ``"random"`` (:func:`random_point`) or ``"centroid"``
            (:func:`centroid_disc`).
        seed: >= 0.
        case: name of the case; two cases get different points from one seed.
        background: how many background spots a slice gets, anywhere (:func:`background_spots`).
        ring_spots: how many more it gets close to the foreground; anywhere in a slice without foreground.
        ring: band of distances in voxels for the spots close by.
        max_core_voxels: at most so many voxels per class and slice, those farthest from the border of the
            class (drawn among equals); None: no limit.

    Returns:
        (H, W, D) uint8 with the marked voxels' own values and ``UNLABELED`` elsewhere.

    Raises:
        TypeError: ``label`` is not of an integer type.
        ValueError: another argument is outside its range.

    Example:
        >>> weak_label(np.ones((3, 3, 1), dtype=int), [1], "erosion", seed=0, case="a")[..., 0]
        array([[255, 255, 255],
               [255,   1, 255],
               [255, 255, 255]], dtype=uint8)
    """
    classes = tuple(classes)
    _require_arguments(label, classes, strategy, seed, max_core_voxels)
    weak = np.full(label.shape, UNLABELED, dtype=np.uint8)
    for index in range(label.shape[-1]):
        plane, marks = label[..., index], weak[..., index]  # views of one slice
        for k in classes:
            rng = _slice_rng(seed, case, index, k)
            mask = plane == k
            marked = _mark(mask, strategy, rng)
            marks[_deepest(marked, mask, max_core_voxels, rng)] = k
        marks[background_spots(plane != 0, _slice_rng(seed, case, index, 0), background)] = 0
        near = _slice_rng(seed, case, index, UNLABELED)
        marks[background_spots(plane != 0, near, ring_spots, ring)] = 0
    return weak


def scribble_label(scribble: NDArray[Any], unannotated: int = 4) -> NDArray[np.uint8]:
    """Weak label of a scribble file in which one more value after the classes says "not annotated" (ACDC: 4).

    Args:
        scribble: integers of any shape in 0..unannotated.
        unannotated: the value that becomes ``UNLABELED``.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: a value is none of 0..unannotated.
    """
    values = np.unique(scribble)
    legal = np.arange(unannotated + 1)
    if not np.isin(values, legal).all():
        raise ValueError(
            f"Expected scribble values 0..{unannotated}, got {values.tolist()}; "
            "pass the value of its voxels that are not annotated."
        )
    return np.where(scribble == unannotated, UNLABELED, scribble).astype(np.uint8)


def _mark(mask: Mask, strategy: str, rng: np.random.Generator) -> Mask:
    if strategy == "erosion":
        return erosion_core(mask)
    return random_point(mask, rng) if strategy == "random" else centroid_disc(mask)


def _deepest(marked: Mask, mask: Mask, count: int | None, rng: np.random.Generator) -> Mask:
    """The ``count`` pixels of ``marked`` that lie deepest in ``mask``."""
    pixels = np.flatnonzero(marked)
    if count is None or len(pixels) <= count:
        return marked
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1].flat[pixels]
    kept = np.zeros_like(marked)
    kept.flat[pixels[np.lexsort((rng.random(len(pixels)), -depth))[:count]]] = True
    return kept


def _disc(shape: tuple[int, ...], center: NDArray[Any], width: int) -> Mask:
    if width < 0:
        raise ValueError(f"Expected width >= 0, got {width}.")
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside: Mask = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= ((width + 1) / 2) ** 2
    return inside


def _slice_rng(seed: int, case: str, index: int, k: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(case.encode()), index, k])


def _as_mask(mask: NDArray[Any]) -> Mask:
    if np.ndim(mask) != 2:
        raise ValueError(f"Expected a mask (H, W), got shape {np.shape(mask)}; pass one slice at a time.")
    return np.array(mask, dtype=bool)


def _require_arguments(
    label: NDArray[Any], classes: tuple[int, ...], strategy: str, seed: int, max_core_voxels: int | None
) -> None:
    if not np.issubdtype(label.dtype, np.integer):
        raise TypeError(f"Expected a label of an integer type, got {label.dtype}; convert it first.")
    if label.ndim != 3:
        raise ValueError(
            f"Expected a label (H, W, D), got shape {label.shape}; for one slice add a last axis."
        )
    if any(not 0 < k < UNLABELED for k in classes):
        raise ValueError(f"Expected foreground classes in 1..{UNLABELED - 1}, got {classes}.")
    if strategy not in STRATEGIES:
        raise ValueError(f"Expected strategy one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if seed < 0:
        raise ValueError(f"Expected seed >= 0, got {seed}.")
    if max_core_voxels is not None and max_core_voxels < 1:
        raise ValueError(f"Expected max_core_voxels >= 1 or None, got {max_core_voxels}.")
