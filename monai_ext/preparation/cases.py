"""The cases of the prepare scripts: their files read, and written with an item of the datalist."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.images.grids import Volume
from monai_ext.images.nifti import header_for
from monai_ext.images.problems import grid_problem, label_problems, rounded_label
from monai_ext.images.search import NIFTI_SUFFIXES, stem
from monai_ext.images.transforms import slice_axis
from monai_ext.images.writer import write_label, write_volume
from monai_ext.keys import CASE, IMAGE, LABEL, PATIENT, REFERENCE, SUPERVISION, UNLABELED, Supervision

logger = logging.getLogger(__name__)

SPLIT_FILE = "split.csv"


class Patient(NamedTuple):
    """What becomes of the data of a patient."""

    name: str
    section: str
    """``"training"``, ``"validation"`` or ``"test"``."""
    kind: Supervision
    """How the cases are annotated."""
    corrupted: bool = False
    """Whether the labels get noise."""


class Prepared(NamedTuple):
    """One case that was written, as the summary counts it."""

    section: str
    supervision: str
    patient: str
    slices: int
    labeled_share: float
    """Share of the voxels that the label says something about, in 0..1."""
    spacing: tuple[float, ...]
    """Size of a voxel as the header says, in mm."""


def read_image(path: Path) -> Volume:
    """Read a volume of three axes, whose slices then lie along the third.

    Slices are cut across the axis with the largest spacing. A volume that is stored otherwise has no
    ``header``, since that of its file fits no more.

    Raises:
        InputError: the file cannot be read, or holds more than one volume; the message names it.
    """
    volume = read_volume(path)
    if volume.array.ndim != 3:
        raise InputError(
            f"{path}: Expected three axes, got shape {volume.array.shape}; store one volume a file."
        )
    if (axis := slice_axis(volume.affine, volume.array.shape)) == 2:
        return volume
    order = [*(other for other in range(3) if other != axis), axis]
    return Volume(path, volume.array.transpose(order), volume.affine[:, [*order, 3]])


def read_label(path: Path, image: Volume, legal: Collection[int]) -> NDArray[np.uint8]:
    """Read the label map of an image, which must be a volume of three axes.

    Args:
        path: the label file.
        image: the image on whose grid the label must lie.
        legal: the values that it may hold, in 0..255.

    Returns:
        (H, W, D) uint8.

    Raises:
        InputError: a file cannot be read, grids differ or a value is not legal; the message names the file.
    """
    label = read_image(path)
    mismatch = grid_problem(label.grid, image.grid)
    for problem in [mismatch] if mismatch else label_problems(label, legal, partial=False)[0]:
        raise InputError(problem)
    return rounded_label(label.array).astype(np.uint8)


def without_contradictions(
    weak: NDArray[np.uint8], truth: NDArray[np.uint8], where: Path, tolerance: float
) -> NDArray[np.uint8]:
    """Weak label whose marks that differ from the full mask are ``UNLABELED``; how many is logged.

    Args:
        weak: drawn by hand, with ``UNLABELED``.
        truth: the full mask, of the same shape.
        where: the file of ``weak``, for messages.
        tolerance: largest share of the marked voxels that may differ.

    Raises:
        InputError: more voxels differ.
    """
    marked = weak != UNLABELED
    wrong = marked & (weak != truth)
    count, total = int(wrong.sum()), int(marked.sum())
    if count > tolerance * total:
        raise InputError(
            f"{where}: Expected marks that agree with the full mask in at least {1 - tolerance:.0%} of their "
            f"voxels, got a contradiction in {count} of {total}; the file may belong to another frame."
        )
    if count:
        logger.info(
            "%s: %d of %d marked voxels contradict the full mask; unlabeled", where.name, count, total
        )
    return np.where(wrong, np.uint8(UNLABELED), weak)


def write_case(
    out: Path,
    images: Volume | Sequence[Volume],
    truth: NDArray[np.uint8] | None,
    label: NDArray[np.uint8] | None,
    *,
    patient: Patient,
    case: str,
) -> tuple[dict[str, Any], Prepared]:
    """Write image, label and, of a case that is not fully labeled, the full mask as reference.

    Args:
        out: folder of the datalist.
        images: one, or one for each modality, of :func:`read_image`.
        truth: (H, W, D), the full mask; None: unknown.
        label: what training may see of it; None: nothing.
        patient: whose case it is.
        case: its name, and that of its label files.

    Returns:
        The item of the datalist, and what the summary counts.
    """
    volumes = [images] if isinstance(images, Volume) else images
    copies = [write_image(out / "images", volume, case) for volume in volumes]
    item: dict[str, Any] = {IMAGE: copies[0] if isinstance(images, Volume) else copies}
    item |= {LABEL: f"labels/{case}.nii.gz", SUPERVISION: patient.kind.value, CASE: case}
    item |= {PATIENT: patient.name, REFERENCE: f"reference/{case}.nii.gz"}
    for key, array in ((LABEL, label), (REFERENCE, None if patient.kind is Supervision.FULL else truth)):
        if array is None:
            del item[key]
        else:
            write_label(out / item[key], array, volumes[0])
    share = 0.0 if label is None else float((label != UNLABELED).mean())
    spacing = tuple(np.linalg.norm(volumes[0].affine[:3, :3], axis=0))
    slices = volumes[0].array.shape[-1]
    return item, Prepared(patient.section, patient.kind.value, patient.name, slices, share, spacing)


def write_image(folder: Path, volume: Volume, case: str) -> str:
    """Copy an image as it is, or write it as NIfTI if it is of another format or its slices were turned.

    Args:
        folder: made if it is not there.
        volume: of :func:`read_image`.
        case: goes before the name of a file that does not begin with it, so that names differ.

    Returns:
        Path of the copy, from the folder above.
    """
    folder.mkdir(exist_ok=True)
    source = volume.path
    name = stem(source) if source.name.startswith(case) else f"{case}_{stem(source)}"
    suffix = source.name[len(stem(source)) :].lower()
    if volume.header is not None and suffix in NIFTI_SUFFIXES:
        shutil.copyfile(source, folder / f"{name}{suffix}")
    else:
        suffix = ".nii.gz"
        header = header_for(volume.affine, volume.array.shape) if volume.header is None else volume.header
        write_volume(folder / f"{name}{suffix}", volume.array, header)
    return f"{folder.name}/{name}{suffix}"
