"""Files of the prepare scripts: those of a raw data set, those of a case, an output written whole."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.images.files import Volume, grid_problem, label_problems, read_volume, write_label
from monai_ext.keys import CASE, IMAGE, LABEL, PATIENT, REFERENCE, SUPERVISION, UNLABELED, Supervision

logger = logging.getLogger(__name__)

DATALIST = "datalist.json"
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


@contextmanager
def staged_folder(out: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when the block ends, or vanishes if the block fails.

    Args:
        out: where the content shall lie in the end; its parents are made.
        overwrite: whether a folder that was prepared before may be replaced.

    Raises:
        ValueError: ``out`` is not empty and ``overwrite`` is off, or it holds no datalist, so that it
            might be anything.
    """
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected {out} to be a folder, got a file; choose another folder.")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise ValueError(
                f"Expected {out} to be empty, got files; choose another folder or pass --overwrite."
            )
        if not (out / DATALIST).is_file():
            raise ValueError(
                f"Expected {DATALIST} in a folder to overwrite, got none in {out}; empty it yourself."
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    staged, old = (out.with_name(f".{out.name}.{kind}-{os.getpid()}") for kind in ("partial", "old"))
    staged.mkdir()
    try:
        yield staged
        if out.exists():
            out.rename(old)
        staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def patient_folders(raw: Path, prefix: str, tree: str) -> dict[str, Path]:
    """Folders named ``prefix`` and a number at any depth, by name; what macOS adds to archives is left out.

    Args:
        raw: the folder of the data set.
        prefix: for example ``"patient"``.
        tree: what such a folder looks like, for the message.

    Raises:
        ValueError: there is none, or two have one name.
    """
    found: dict[str, Path] = {}
    for folder in sorted(raw.rglob(f"{prefix}*")):
        name = folder.name
        if not folder.is_dir() or not re.fullmatch(rf"{prefix}\d+", name) or "__MACOSX" in folder.parts:
            continue
        if name in found:
            raise ValueError(f"{folder}: Expected each patient once, got {found[name]} too; remove one.")
        found[name] = folder
    if not found:
        raise ValueError(f"Expected folders {tree} under {raw}, found none; check --raw.")
    return found


def nifti_file(stem: Path) -> Path:
    """The file ``stem.nii.gz`` or ``stem.nii``.

    Raises:
        ValueError: there is neither.
    """
    for path in (stem.with_name(f"{stem.name}.nii.gz"), stem.with_name(f"{stem.name}.nii")):
        if path.is_file():
            return path
    raise ValueError(f"{stem}.nii.gz: Expected this file, found none; restore it or take out the patient.")


def read_label(path: Path, image: Volume, legal: Collection[int]) -> NDArray[np.uint8]:
    """Read the label map of an image, which must be a volume of three axes.

    Args:
        path: the label file.
        image: the image on whose grid the label must lie.
        legal: the values that it may hold, in 0..255.

    Returns:
        (H, W, D) uint8.

    Raises:
        ValueError: a file cannot be read, grids differ or a value is not legal; the message names the file.
    """
    label = read_volume(path)
    if label.array.ndim != 3:
        raise ValueError(
            f"{path}: Expected three axes, got shape {label.array.shape}; store one volume a file."
        )
    mismatch = grid_problem(label.grid, image.grid)
    for problem in [mismatch] if mismatch else label_problems(label, legal, partial=False)[0]:
        raise ValueError(problem)
    return label.array.astype(np.uint8)


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
        ValueError: more voxels differ.
    """
    marked = weak != UNLABELED
    wrong = marked & (weak != truth)
    count, total = int(wrong.sum()), int(marked.sum())
    if count > tolerance * total:
        raise ValueError(
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
        images: a NIfTI file, or one for each modality, which are copied as they are.
        truth: (H, W, D), the full mask; None: unknown.
        label: what training may see of it; None: nothing.
        patient: whose case it is.
        case: its name, and that of its label files.

    Returns:
        The item of the datalist, and what the summary counts.
    """
    volumes = [images] if isinstance(images, Volume) else images
    copies = [f"images/{volume.path.name}" for volume in volumes]
    item: dict[str, Any] = {IMAGE: copies[0] if isinstance(images, Volume) else copies}
    item |= {LABEL: f"labels/{case}.nii.gz", SUPERVISION: patient.kind.value, CASE: case}
    item |= {PATIENT: patient.name, REFERENCE: f"reference/{case}.nii.gz"}
    for key, array in ((LABEL, label), (REFERENCE, None if patient.kind is Supervision.FULL else truth)):
        if array is None:
            del item[key]
        else:
            (out / item[key]).parent.mkdir(exist_ok=True)
            write_label(out / item[key], array, volumes[0].path)
    (out / "images").mkdir(exist_ok=True)
    for volume, copy in zip(volumes, copies, strict=True):
        shutil.copyfile(volume.path, out / copy)
    share = 0.0 if label is None else float((label != UNLABELED).mean())
    spacing = tuple(np.linalg.norm(volumes[0].affine[:3, :3], axis=0))
    slices = volumes[0].array.shape[-1]
    return item, Prepared(patient.section, patient.kind.value, patient.name, slices, share, spacing)
