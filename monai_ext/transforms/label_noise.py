"""Noisy label maps from clean ones: the mistakes of hurried annotators, older software or another model.

Mistakes are made on every slice by itself. Each slice has its own random state, derived from ``(seed, case,
slice)`` and the position of the noise in the sequence only, so that a noisy label does not depend on the
order of processing, and that noises which differ in a share only change nested sets of slices.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from monai_ext.keys import UNLABELED

Mask = NDArray[np.bool_]
Kind = Literal["size", "wobble", "shift", "missed", "swapped"]
KINDS: tuple[str, ...] = get_args(Kind)

ORGAN_PIXELS = 1000
"""So many pixels has an organ on the grid on which its size is changed."""
WOBBLE_SMOOTHNESS = 8.0
"""Standard deviation in pixels of the Gaussian that smooths the displacement of a boundary."""


@dataclass(frozen=True)
class LabelNoise:
    """One kind of mistake, how strong it is and how often it is made.

    Attributes:
        kind: ``"size"``: the organs of a slice are too small or too large (:func:`change_sizes`);
            ``"wobble"``: their boundaries move by a smooth random displacement of standard deviation k pixels
            along each axis; ``"shift"``: they move by k pixels in a random direction; ``"missed"``: they are
            not annotated; ``"swapped"``: two classes, of which at least one is there, are exchanged.
        strength: (lo, hi), inclusive range of whole numbers from which k is drawn uniformly, once a slice.
            For ``"missed"``, k slices at either end of the foreground are missed beside those of
            ``slice_share``; ``"swapped"`` does not use it.
        under_share: probability that a slice is eroded and not dilated; ``"size"`` only.
        slice_share: probability that a slice is changed.

    Raises:
        ValueError: one of them is outside its range.
    """

    kind: Kind
    strength: tuple[int, int] = (0, 0)
    under_share: float = 0.5
    slice_share: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Expected kind one of {', '.join(KINDS)}, got {self.kind!r}.")
        lo, hi = self.strength
        if not 0 <= lo <= hi or (lo, hi) != (int(lo), int(hi)):
            raise ValueError(f"Expected strength (lo, hi), whole with 0 <= lo <= hi, got {self.strength}.")
        for name in ("under_share", "slice_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} in 0..1, got {getattr(self, name)}.")


PRESETS = {
    "symmetric": LabelNoise("size", (2, 4), under_share=0.5),
    "hurried": LabelNoise("size", (3, 5), under_share=0.8),
    "wobble": LabelNoise("wobble", (2, 4)),
    "shift": LabelNoise("shift", (2, 5)),
    "missed-slices": LabelNoise("missed", (0, 1), slice_share=0.2),
    "swapped-classes": LabelNoise("swapped", slice_share=0.2),
}
"""Noises by name: ``symmetric`` is the published one, ``hurried`` annotators mostly draw too little."""


def noisy_label(
    label: NDArray[Any], classes: Iterable[int], noises: Sequence[LabelNoise], seed: int, case: str
) -> NDArray[np.uint8]:
    """Label map with mistakes, slice by slice.

    Only voxels that are 0 or of one of ``classes`` change, and they change to one of these: ``UNLABELED`` and
    all other values stay as they are.

    Args:
        label: (H, W, D) integers in 0..255, the clean mask; slices lie along the last axis, 0 is background.
        classes: the foreground values that get noise, each in 1..254.
        noises: applied one after the other.
        seed: >= 0.
        case: name of the case; two cases get different mistakes from one seed.

    Returns:
        (H, W, D) uint8.

    Raises:
        TypeError: ``label`` is not of an integer type.
        ValueError: another argument is outside its range.

    Example:
        >>> label = np.pad(np.ones((2, 2, 1), dtype=int), ((0, 2), (0, 2), (0, 0)))
        >>> noisy_label(label, [1], [LabelNoise("missed")], seed=0, case="a").any()
        np.False_
    """
    classes = tuple(sorted(set(classes)))
    _require_arguments(label, classes, noises, seed)
    noisy = label.astype(np.uint8)
    for position, noise in enumerate(noises):
        ends = _ends(noisy, classes, noise, _rng(seed, case, noisy.shape[-1], position))
        for index in range(noisy.shape[-1]):
            rng = _rng(seed, case, index, position)
            if rng.random() < noise.slice_share or index in ends:
                plane = noisy[..., index]  # a view
                known = np.where(np.isin(plane, classes), plane, 0)
                if known.any():
                    free = (plane == 0) | (known > 0)
                    plane[free] = _change(known, classes, noise, rng)[free]
    return noisy


def change_sizes(plane: NDArray[np.uint8], classes: Sequence[int], k: int, under: bool) -> NDArray[np.uint8]:
    """Slice whose organs are all too small or all too large, relative to their size.

    Each organ of n pixels is rescaled by sqrt(1000 / n) (cubic, threshold 0.5), k times eroded or dilated by
    a 3 x 3 box, and scaled back. Pixels that the erosion takes become 0, pixels that the dilation adds become
    the class if they are 0 by then, so that no organ overwrites another. The edge of a slice does not erode.

    Differs from the source: an erosion only takes pixels, where the source also clears pixels that the
    rescaling adds; classes come in the order given, not in that of its four organs.

    Args:
        plane: (H, W).
        classes: the organs, in the order in which they may claim background.
        k: number of erosions or dilations, >= 0; 0 changes nothing.
        under: erode, else dilate.

    Returns:
        (H, W) of the same type; an organ may be gone.

    Reference:
        Liu et al., Adaptive Early-Learning Correction for Segmentation from Noisy Annotations, CVPR 2022,
        arXiv:2110.03740 (the noise of its SegTHOR experiments).
    """
    noisy = plane.copy()
    for value in classes:
        mask = plane == value
        if k and mask.any():
            changed = _eroded_or_dilated(mask, k, under)
            if under:
                noisy[mask & ~changed] = 0
            else:
                noisy[changed & (noisy == 0)] = value
    return noisy


def realized_iou(
    pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]], classes: Iterable[int]
) -> dict[int, float]:
    r"""Intersection over union of noisy with clean labels, for each class over all voxels of a data set.

    $IoU_k = \sum_i |N_{ik} \cap C_{ik}| / \sum_i |N_{ik} \cup C_{ik}|$ with the voxels $N_{ik}$ of class k in
    noisy label i and $C_{ik}$ in the clean one. Voxels that are ``UNLABELED`` in either do not count.

    Args:
        pairs: noisy and clean label of each case, of equal shape.
        classes: the classes to compare.

    Returns:
        The IoU of each class; NaN for a class that no label has.

    Raises:
        ValueError: two labels differ in shape.

    Example:
        >>> realized_iou([(np.array([1, 1, 0]), np.array([1, 0, 0]))], classes=[1])
        {1: 0.5}
    """
    common, either = (dict.fromkeys(classes, 0) for _ in range(2))
    for noisy, clean in pairs:
        if noisy.shape != clean.shape:
            raise ValueError(
                f"Expected noisy and clean labels of one shape, got {noisy.shape} and {clean.shape}."
            )
        said = (noisy != UNLABELED) & (clean != UNLABELED)
        for k in common:
            common[k] += int((said & (noisy == k) & (clean == k)).sum())
            either[k] += int((said & ((noisy == k) | (clean == k))).sum())
    return {k: common[k] / either[k] if either[k] else math.nan for k in common}


def _change(
    plane: NDArray[np.uint8], classes: Sequence[int], noise: LabelNoise, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A slice of nothing but background and ``classes``, changed."""
    if noise.kind == "missed":
        return np.zeros_like(plane)
    if noise.kind == "swapped":
        return _swapped(plane, classes, rng)
    under = bool(rng.random() < noise.under_share)
    k = int(rng.integers(*noise.strength, endpoint=True))
    if noise.kind == "size":
        return change_sizes(plane, classes, k, under)
    return _shifted(plane, k, rng) if noise.kind == "shift" else _wobbled(plane, k, rng)


def _eroded_or_dilated(mask: Mask, k: int, under: bool) -> Mask:
    """The mask after k erosions or dilations on a grid on which it has about ``ORGAN_PIXELS`` pixels."""
    factor = math.sqrt(ORGAN_PIXELS / mask.sum())
    margin = math.ceil((k + 2) / factor) + 2  # room for the dilation and for the kernel of the interpolation
    window = tuple(slice(max(0, i.min() - margin), i.max() + margin + 1) for i in np.nonzero(mask))
    crop = mask[window]
    fine = _resized(crop, tuple(max(1, round(factor * n)) for n in crop.shape))
    # k times a 3 x 3 box is one box of 2 k + 1; "nearest": what lies outside neither erodes nor dilates
    box = ndimage.minimum_filter if under else ndimage.maximum_filter
    changed = np.zeros_like(mask)
    changed[window] = _resized(box(fine, 2 * k + 1, mode="nearest"), crop.shape)
    return changed


def _resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
    fine: Mask = resize(mask.astype(float), shape, order=3, mode="edge", anti_aliasing=False) > 0.5
    return fine


def _wobbled(plane: NDArray[np.uint8], k: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.standard_normal((2, *plane.shape))
    smooth = ndimage.gaussian_filter(noise, WOBBLE_SMOOTHNESS, mode="wrap", axes=(1, 2))
    field = (
        k * smooth * (2 * math.sqrt(math.pi) * WOBBLE_SMOOTHNESS)
    )  # the factor undoes the loss of variance
    moved: NDArray[np.uint8] = ndimage.map_coordinates(
        plane, np.indices(plane.shape) + field, order=0, mode="nearest"
    )
    return moved


def _shifted(plane: NDArray[np.uint8], k: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    angle = rng.uniform(0, 2 * math.pi)
    offset = round(k * math.cos(angle)), round(k * math.sin(angle))
    moved: NDArray[np.uint8] = ndimage.shift(plane, offset, order=0)
    return moved


def _swapped(plane: NDArray[np.uint8], classes: Sequence[int], rng: np.random.Generator) -> NDArray[np.uint8]:
    one = rng.choice([k for k in classes if (plane == k).any()])
    other = rng.choice([k for k in classes if k != one])
    table = np.arange(UNLABELED + 1, dtype=np.uint8)
    table[[one, other]] = other, one
    return table[plane]


def _ends(
    label: NDArray[np.uint8], classes: Sequence[int], noise: LabelNoise, rng: np.random.Generator
) -> set[int]:
    """Slices at both ends of the foreground that are missed."""
    if noise.kind != "missed":
        return set()
    slices = np.flatnonzero(np.isin(label, classes).any(axis=(0, 1))).tolist()
    first, last = rng.integers(*noise.strength, size=2, endpoint=True)
    return {*slices[:first], *slices[max(0, len(slices) - last) :]}


def _rng(seed: int, case: str, index: int, position: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(case.encode()), index, position])


def _require_arguments(
    label: NDArray[Any], classes: tuple[int, ...], noises: Sequence[LabelNoise], seed: int
) -> None:
    if not np.issubdtype(label.dtype, np.integer):
        raise TypeError(f"Expected a label of an integer type, got {label.dtype}; convert it first.")
    if label.ndim != 3:
        raise ValueError(
            f"Expected a label (H, W, D), got shape {label.shape}; for one slice add a last axis."
        )
    if label.size and not 0 <= label.min() <= label.max() <= UNLABELED:
        raise ValueError(f"Expected label values in 0..{UNLABELED}, got {label.min()}..{label.max()}.")
    if any(not 0 < k < UNLABELED for k in classes):
        raise ValueError(f"Expected foreground classes in 1..{UNLABELED - 1}, got {classes}.")
    if len(classes) < 2 and any(noise.kind == "swapped" for noise in noises):
        raise ValueError(f"Expected at least two classes to swap, got {classes}; choose another noise.")
    if seed < 0:
        raise ValueError(f"Expected seed >= 0, got {seed}.")
