"""What can be wrong with the voxels and the grids of files, one clear message a problem."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from monai_ext.images.grids import AFFINE_TOLERANCE, Grid, Volume, affine_difference
from monai_ext.keys import UNLABELED

LABEL_ROUNDING = 1e-3
"""How far from a whole number a class index stored as a float may lie."""


def number_problems(volume: Volume) -> list[str]:
    """Voxels that are not finite numbers of float32, in which networks compute.

    Returns:
        At most one message, opening with the file.
    """
    array = volume.array
    if array.dtype.kind != "f":
        return []
    limit = np.finfo(np.float32).max
    if not (bad := ~np.isfinite(array)).any():
        if array.dtype.itemsize <= 4 or not (bad := np.abs(array) > limit).any():
            return []
        what = f"numbers beyond float32 ({_first_value(array, bad)})"
    else:
        what = "NaN or infinity"
    return [
        f"{volume.path}: Expected finite voxels, got {what} in {_count(bad)}; "
        "replace these voxels or leave the case out."
    ]


def image_problems(volume: Volume) -> list[str]:
    """Voxels that are not finite, and channels of one intensity.

    Args:
        volume: an image; a fourth axis is taken for channels.

    Returns:
        One message for each problem, opening with the file.
    """
    if found := number_problems(volume):
        return found
    channels = np.moveaxis(volume.array, 3, 0) if volume.array.ndim > 3 else volume.array[None]
    for number, channel in enumerate(channels):
        low = channel.min()
        if low == channel.max():
            which = f" of channel {number}" if len(channels) > 1 else ""
            found.append(
                f"{volume.path}: Expected an image with contrast, got the constant intensity {low:g}{which}; "
                "export it again or leave the case out."
            )
    return found


def axes_problem(path: Path, shape: Sequence[int]) -> str | None:
    """Message if an image that should have one channel has a fourth axis, else None."""
    if len(shape) < 4:
        return None
    sizes = " x ".join(map(str, shape))
    return (
        f"{path}: Expected a volume of three axes, got the axes {sizes}; "
        "save one time point or channel of it as a file of its own."
    )


def rounded_label(array: np.ndarray) -> np.ndarray:
    """Class indices that were stored as floats as the whole numbers next to them; integers as they are."""
    return np.rint(array) if array.dtype.kind == "f" else array


def whole_numbers(array: np.ndarray) -> np.ndarray:
    """Class indices (0 to 255) that were stored as floats as whole numbers; any other array as it is.

    Small numbers that would all become 0, as of a diffusion map in mm2/s, are none.
    """
    if array.dtype.kind != "f" or array.min() < -LABEL_ROUNDING or not 0.5 < array.max() < UNLABELED + 0.5:
        return array
    whole = np.rint(array)
    return whole if (np.abs(array - whole) <= LABEL_ROUNDING).all() else array


def label_problems(volume: Volume, legal: Collection[int], partial: bool) -> tuple[list[str], set[int]]:
    """Values that a label map must not hold.

    Args:
        volume: a label map of one channel.
        legal: the class indices, background included.
        partial: True if voxels may be ``UNLABELED``.

    Returns:
        One message for each problem, opening with the file, and the legal classes that have a voxel.
    """
    array, found = volume.array, []
    if any(size != 1 for size in array.shape[3:]):
        return [
            f"{volume.path}: Expected a label map of one channel, got shape {array.shape}; "
            "store the class index of each voxel instead of one mask a class."
        ], set()
    whole = rounded_label(array)
    with np.errstate(invalid="ignore"):  # infinity minus infinity, which is no whole number either
        fractional = ~(np.abs(array - whole) <= LABEL_ROUNDING)
    if fractional.any():
        found.append(
            f"{volume.path}: Expected integer class indices, got {_first_value(array, fractional)} and the "
            f"like in {_count(fractional)}; resample label maps with nearest neighbor."
        )
        whole = whole[~fractional]
    values = {int(v) for v in np.unique(whole)}
    if problem := _binary_problem(volume, whole, values, legal, partial):
        return [*found, problem], {0}
    illegal = sorted(values - set(legal) - {UNLABELED})
    if illegal:
        shown = ", ".join(map(str, illegal[:8])) + (", ..." if len(illegal) > 8 else "")
        found.append(
            f"{volume.path}: Expected values among {sorted(legal)}, got {shown} in "
            f"{_count(np.isin(rounded_label(array), illegal))}; "
            'correct the label map or add the class to "labels".'
        )
    if UNLABELED in values and not partial and UNLABELED not in legal:
        found.append(
            f"{volume.path}: Expected a class for every voxel, got {UNLABELED} (unlabeled) in "
            f'{_count(rounded_label(array) == UNLABELED)}; mark the item "partial" or complete the label map.'
        )
    return found, values & set(legal)


def _binary_problem(
    volume: Volume, whole: np.ndarray, values: set[int], legal: Collection[int], partial: bool
) -> str | None:
    """Message if a label map is a mask of 0 and 255, as tools for pictures write it, else None.

    A weak label that marks some background and nothing else has 255 in most of its voxels.
    """
    if values != {0, UNLABELED} or UNLABELED in legal:
        return None
    if partial and np.count_nonzero(whole == UNLABELED) >= whole.size / 2:
        return None
    classes = [value for value in sorted(legal) if value > 0]
    number = f"{classes[0]}" if len(classes) == 1 else "the number of the class"
    return (
        f"{volume.path}: Expected class numbers, got 0 and {UNLABELED}, as in a binary mask; write {number} "
        f"instead of {UNLABELED}, which stands for voxels that nobody labeled."
    )


def grid_problem(grid: Grid, standard: Grid) -> str | None:
    """Message if two files of one case do not lie voxel on voxel, else None.

    Args:
        grid: the file that the message blames.
        standard: the file that it should agree with, usually the image.
    """
    if grid.shape != standard.shape:
        return (
            f"{grid.path}: Expected shape {standard.shape} as in {standard.path}, got {grid.shape}; "
            "resample one onto the other or correct the pairing."
        )
    if not (difference := affine_difference(grid, standard)):
        return None
    return (
        f"{grid.path}: Expected the affine of {standard.path}, got another: {difference} "
        f"(tolerance {AFFINE_TOLERANCE:g} voxel); resample one onto the other or correct the header."
    )


def contradiction(weak: Volume, strong: Volume) -> str | None:
    """Message if a voxel of a weak label differs from the full one where it is labeled, else None.

    Args:
        weak: a partial label map.
        strong: the full label map of the same case; not compared if its shape differs.
    """
    if weak.grid.shape != strong.grid.shape or any(
        v.array.size != np.prod(v.grid.shape) for v in (weak, strong)
    ):
        return None  # which is reported as a problem of its own
    marked, truth = (rounded_label(v.array.reshape(v.grid.shape)) for v in (weak, strong))
    wrong = (marked != UNLABELED) & (truth != UNLABELED) & (marked != truth)
    if not wrong.any():
        return None
    return (
        f"{weak.path}: Expected labeled voxels to agree with the full label {strong.path}, got a "
        f"contradiction in {_count(wrong)}: "
        f"{_first_value(marked, wrong)} instead of {_first_value(truth, wrong)}; "
        "make the weak label from this full one or correct the pairing."
    )


def _count(mask: np.ndarray) -> str:
    position = tuple(int(i) for i in np.unravel_index(int(mask.argmax()), mask.shape))
    total = int(np.count_nonzero(mask))
    return f"{total} voxel{'s' * (total != 1)}, first at {position}"


def _first_value(array: np.ndarray, mask: np.ndarray) -> str:
    return f"{array[mask][0]:g}"
