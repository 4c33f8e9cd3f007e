"""One image file: reading all of its voxels, and saying clearly what is wrong with them."""

import gzip
import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from monai_ext.keys import UNLABELED

AFFINE_TOLERANCE = 1e-3
"""Largest difference between entries of two affines that count as equal, in mm (voxels without a unit)."""

_NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")
_NIFTI_CLASSES = (nib.Nifti1Image, nib.Nifti2Image)
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    RuntimeError,
    MemoryError,
    ArithmeticError,
    ImportError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


class VolumeError(ValueError):
    """A file is missing, or its voxels cannot be read."""


class Grid(NamedTuple):
    """Where the voxels of a file lie: enough to compare two files without keeping their voxels."""

    path: Path
    shape: tuple[int, ...]
    """Spatial sizes, three at most: channels do not count."""
    affine: np.ndarray
    """Voxel indices to millimeters, (4, 4), right-anterior-superior."""


class Volume(NamedTuple):
    """All voxels of one file."""

    path: Path
    array: np.ndarray
    """(X, Y), (X, Y, Z) or (X, Y, Z, channels), in the data type of the file, scaled as its header says."""
    affine: np.ndarray
    """Voxel indices to millimeters, (4, 4), right-anterior-superior."""

    @property
    def grid(self) -> Grid:
        """Shape and affine without the voxels."""
        return Grid(self.path, self.array.shape[:3], self.affine)

    @property
    def channels(self) -> int:
        """Size of the fourth axis; 1 if there is none."""
        return self.array.shape[3] if self.array.ndim > 3 else 1


def read_volume(path: str | Path) -> Volume:
    """Read every voxel of a file, so that damage anywhere in it shows now.

    NIfTI (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``) is read by nibabel, and the checksum of a compressed
    file is verified; every other suffix (``.mha``, ``.nrrd``, ...) is left to SimpleITK.

    Args:
        path: the file.

    Raises:
        VolumeError: if there is no such file, it is truncated or of another format, it has no voxel,
            or its voxels are not real numbers.
    """
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing"
        raise VolumeError(f"{path}: Expected a file, got {got}; correct the path or restore the file.")
    try:
        array, affine = _read_nifti(path) if path.name.lower().endswith(_NIFTI_SUFFIXES) else _read_itk(path)
    except _READ_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise VolumeError(
            f"{path}: Expected a complete, readable image, got {reason}; "
            "the file is truncated, damaged or of another format: copy or export it again."
        ) from error
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise VolumeError(
            f"{path}: Expected voxels that are real numbers, got shape {array.shape} of type {array.dtype}; "
            "export the image again with one number a voxel."
        )
    return Volume(path, array, affine)


def channels_in_header(path: Path) -> int | None:
    """Size of the fourth axis of a NIfTI file, 1 if there is none; None if its header cannot be read."""
    try:
        shape = nib.load(path).shape  # type: ignore[attr-defined]
    except _READ_ERRORS:
        return None
    return int(shape[3]) if len(shape) > 3 else 1


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    name = path.name.lower()
    if name.endswith((".hdr", ".img")):
        pair = nib.load(path)
        return np.asanyarray(pair.dataobj), np.asarray(pair.affine)  # type: ignore[attr-defined]
    raw = path.read_bytes()
    if name.endswith(".gz"):
        raw = gzip.decompress(raw)  # to the end: unlike nibabel, this meets a truncated trailer, too
    for kind in _NIFTI_CLASSES:
        if kind.header_class.may_contain_header(raw[: kind.header_class.sizeof_hdr]):
            image = kind.from_bytes(raw)
            proxy: Any = image.dataobj
            need = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
            if need > len(raw):  # said here, since nibabel would ask for that much memory first
                raise ValueError(f"the header promises {need} bytes, the file holds {len(raw)}")
            return np.asanyarray(proxy), np.asarray(image.affine)
    raise ValueError("no NIfTI header at its start")


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk  # only for files that are not NIfTI

    image = sitk.ReadImage(str(path))
    dims = image.GetDimension()
    array = sitk.GetArrayFromImage(image)  # (Z, Y, X) or (Z, Y, X, channels)
    array = array.transpose(*reversed(range(dims)), *range(dims, array.ndim))
    affine = np.eye(4)
    n = min(dims, 3)
    axes = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:n, :n] = axes[:n, :n]
    affine[:n, 3] = image.GetOrigin()[:n]
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # left-posterior-superior to nibabel's convention


def write_label(path: Path, label: np.ndarray, image: Path) -> None:
    """Write a label map as uint8 NIfTI with the affine and the units of an image file.

    Args:
        path: where to; ``.nii`` or ``.nii.gz``.
        label: (H, W, D), values in 0..255.
        image: the NIfTI image on whose grid the label lies.
    """
    standard = nib.load(image)
    header: Any = standard.header.copy()
    header["cal_min"] = header["cal_max"] = 0  # the image's display window
    written = nib.Nifti1Image(np.asarray(label, dtype=np.uint8), standard.affine, header)  # type: ignore[attr-defined]
    written.set_data_dtype(np.uint8)
    nib.save(written, path)


def image_problems(volume: Volume) -> list[str]:
    """Voxels that are not finite, and channels of one intensity.

    Args:
        volume: an image; a fourth axis is taken for channels.

    Returns:
        One message for each problem, opening with the file.
    """
    array = volume.array
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        bad = ~finite
        return [
            f"{volume.path}: Expected finite voxels, got NaN or infinity in {_count(bad)}; "
            "replace these voxels or leave the case out."
        ]
    channels = np.moveaxis(array, 3, 0) if array.ndim > 3 else array[None]
    found = []
    for number, channel in enumerate(channels):
        low = channel.min()
        if low == channel.max():
            which = f" of channel {number}" if len(channels) > 1 else ""
            found.append(
                f"{volume.path}: Expected an image with contrast, got the constant intensity {low:g}{which}; "
                "export it again or leave the case out."
            )
    return found


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
    if array.dtype.kind == "f" and (fractional := ~np.isfinite(array) | (array != np.rint(array))).any():
        found.append(
            f"{volume.path}: Expected integer class indices, got {_first_value(array, fractional)} and the "
            f"like in {_count(fractional)}; resample label maps with nearest neighbor."
        )
        values = {int(v) for v in np.unique(array[~fractional])}
    else:
        values = {int(v) for v in np.unique(array)}
    illegal = sorted(values - set(legal) - {UNLABELED})
    if illegal:
        shown = ", ".join(map(str, illegal[:8])) + (", ..." if len(illegal) > 8 else "")
        found.append(
            f"{volume.path}: Expected values among {sorted(legal)}, got {shown} in "
            f'{_count(np.isin(array, illegal))}; correct the label map or add the class to "labels".'
        )
    if UNLABELED in values and not partial and UNLABELED not in legal:
        found.append(
            f"{volume.path}: Expected a class for every voxel, got {UNLABELED} (unlabeled) in "
            f'{_count(array == UNLABELED)}; mark the item "partial" or complete the label map.'
        )
    return found, values & set(legal)


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
        f"(tolerance {AFFINE_TOLERANCE:g}); resample one onto the other or correct the header."
    )


def affine_difference(grid: Grid, standard: Grid) -> str:
    """By how much an affine differs from another, such as "origin by 5"; empty within the tolerance."""
    difference = np.abs(grid.affine - standard.affine)
    axes, origin = float(difference[:3, :3].max()), float(difference[:3, 3].max())
    return " and ".join(
        f"{what} by {by:.4g}"
        for what, by in (("spacing or axes", axes), ("origin", origin))
        if not by <= AFFINE_TOLERANCE
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
    marked, truth = (v.array.reshape(v.grid.shape) for v in (weak, strong))
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
