"""What the prepare scripts of all datasets share: splits, label maps, an output written whole, a summary."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from monai_ext.data.datalist import SECTIONS, nested_subset, split_patients
from monai_ext.data.image_files import Volume, grid_problem, label_problems, read_volume
from monai_ext.keys import CASE, IMAGE, LABEL, PATIENT, REFERENCE, SUPERVISION, UNLABELED, Supervision

logger = logging.getLogger(__name__)

DATALIST = "datalist.json"
SPLIT_FILE = "split.csv"


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


def write_label(path: Path, label: NDArray[Any], image: Path) -> None:
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


def write_case(
    out: Path,
    image: Volume,
    truth: NDArray[np.uint8],
    label: NDArray[np.uint8] | None,
    *,
    section: str,
    kind: Supervision,
    case: str,
    patient: str,
) -> tuple[dict[str, Any], Prepared]:
    """Write image, label and, of a case that is not fully labeled, the full mask as reference.

    Args:
        out: folder of the datalist.
        image: a NIfTI file, which is copied as it is.
        truth: (H, W, D), the full mask.
        label: what training may see of it; None: nothing.
        section: ``"training"``, ``"validation"`` or ``"test"``.
        kind: how the case is annotated.
        case: its name, and that of its label files.
        patient: whose it is.

    Returns:
        The item of the datalist, and what the summary counts.
    """
    item = {IMAGE: f"images/{image.path.name}", LABEL: f"labels/{case}.nii.gz"}
    item |= {SUPERVISION: kind.value, CASE: case, PATIENT: patient, REFERENCE: f"reference/{case}.nii.gz"}
    for key, array in ((LABEL, label), (REFERENCE, None if kind is Supervision.FULL else truth)):
        if array is None:
            del item[key]
        else:
            (out / item[key]).parent.mkdir(exist_ok=True)
            write_label(out / item[key], array, image.path)
    (out / "images").mkdir(exist_ok=True)
    shutil.copyfile(image.path, out / item[IMAGE])
    share = 0.0 if label is None else float((label != UNLABELED).mean())
    spacing = tuple(np.linalg.norm(image.affine[:3, :3], axis=0))
    return item, Prepared(section, kind.value, patient, truth.shape[-1], share, spacing)


def select_full(training: Sequence[str], full: str, seed: int) -> list[str]:
    """Training patients that keep their full masks.

    Args:
        training: all names.
        full: how many, or ``"all"``.
        seed: smaller selections of one seed are subsets of larger ones.

    Raises:
        ValueError: ``full`` is neither, or too large.
    """
    if full == "all" or not training:  # nothing to choose from where everything is for the test
        return list(training)
    if not full.isdecimal():
        raise ValueError(f"Expected --full to be a number of patients or all, got {full!r}.")
    if int(full) > len(training):
        raise ValueError(
            f"Expected --full at most {len(training)}, the number of training patients, got {full}."
        )
    return nested_subset(training, int(full), seed)


def resolve_split(split: str | None, raw: Path, patients: Collection[str], seed: int) -> dict[str, list[str]]:
    """Which patients are for training, validation and test.

    Args:
        split: ``"test"`` (all of them), shares such as ``"70/10/20"`` for a seeded split, a CSV file, or None
            for ``split.csv`` of ``raw``.
        raw: the folder of the data set.
        patients: all names found there.
        seed: of a split by shares.

    Returns:
        Sorted names of each section.

    Raises:
        ValueError: ``split`` is none of these, there is no file, or the file and the patients disagree.
    """
    file = Path(split) if split else raw / SPLIT_FILE
    if file.is_file():
        return _read_split(file, patients)
    if split is None:
        raise ValueError(f"Expected {file} or --split, got neither; pass --split FILE.csv, test or 70/10/20.")
    if split == "test":
        return {"training": [], "validation": [], "test": sorted(patients)}
    try:
        shares = [float(share) for share in split.split("/")]
    except ValueError:
        raise ValueError(
            f"Expected --split FILE.csv, test or shares such as 70/10/20, got {split!r}."
        ) from None
    return split_patients(patients, shares, seed)


def _read_split(file: Path, patients: Collection[str]) -> dict[str, list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    if not rows or "split" not in rows[0][1:]:
        raise ValueError(
            f"{file}: Expected the columns patient,split, got {','.join(rows[0]) if rows else 'nothing'}."
        )
    column, section_of = rows[0].index("split"), dict[str, str]()
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        name, section = row[0], row[column] if len(row) > column else ""
        if section not in SECTIONS:
            raise ValueError(
                f"{file}: line {line}: Expected one of {', '.join(SECTIONS)} for {name}, got {section!r}."
            )
        if section_of.setdefault(name, section) != section:
            raise ValueError(
                f"{file}: line {line}: Expected {name} in one split, got {section_of[name]} and {section}."
            )
    for names, what in (
        (set(section_of) - set(patients), "data of every patient in the file, got none"),
        (set(patients) - set(section_of), "a line for every patient in the data, got none"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise ValueError(
                f"{file}: Expected {what} for {shown} ({len(names)} in all); correct the file or the folder."
            )
    return {key: sorted(name for name, section in section_of.items() if section == key) for key in SECTIONS}


def summary_table(cases: Sequence[Prepared], title: str, caption: str = "") -> Table:
    """Table of patients, cases, slices and the mean labeled share, by section and kind of supervision."""
    table = Table(title=title, caption=caption or None)
    for heading in ("section", "supervision", "patients", "cases", "slices", "labeled voxels"):
        table.add_column(heading, justify="left" if heading in ("section", "supervision") else "right")
    groups = dict.fromkeys((case.section, case.supervision) for case in cases)
    for section, kind in sorted(groups, key=lambda group: (SECTIONS.index(group[0]), group[1])):
        group = [case for case in cases if (case.section, case.supervision) == (section, kind)]
        share = sum(case.labeled_share for case in group) / len(group)
        counts = len({case.patient for case in group}), len(group), sum(case.slices for case in group)
        table.add_row(section, kind, *map(str, counts), f"{share:.3%}")
    return table
