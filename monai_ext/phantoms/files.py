"""The computer-made bodies as files: hearts in the layout of ACDC, thoraces of SegTHOR, brains of BraTS."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

from monai_ext.datalist.datalist import PHANTOM_FILE
from monai_ext.phantoms.brain import brain_phantom
from monai_ext.phantoms.brain_anatomy import MODALITIES, SPACING
from monai_ext.phantoms.heart import (
    BACKGROUND,
    FRAME_NUMBERS,
    LV_CAVITY,
    MYOCARDIUM,
    RIGHT_VENTRICLE,
    heart_phantom,
)
from monai_ext.phantoms.heart_anatomy import draw_patient
from monai_ext.phantoms.thorax import thorax_phantom
from monai_ext.phantoms.thorax_anatomy import draw_thorax

NOT_ANNOTATED = 4
"""Value of a voxel without a stroke in ACDC's scribble files (in a batch it becomes `keys.UNLABELED`)."""
_NOTE = """Computer-made {bodies} (phantoms), not patients.

Every image here was drawn by a program, monai_ext/phantoms/{source}, from random numbers. The folders
copy the layout of the {challenge} challenge so that the same code reads both. These files serve to try
software. No result on them says anything about patients.{more}
"""


class _Kind(NamedTuple):
    """What sets the files of one kind of body apart."""

    bodies: str
    source: str
    challenge: str
    folder: str
    """Of one patient below the root, with a place for the number."""
    most: int
    more: str = ""
    """Another sentence for `PHANTOM_FILE`."""


_GROUPS = "\nThe disease groups in Info.cfg only name how the shape was drawn."
_HEARTS = _Kind("hearts", "heart.py", "ACDC", "patient{:03d}", 999, _GROUPS)
_THORACES = _Kind("thoraces", "thorax.py", "SegTHOR", "train/Patient_{:02d}", 99)
_BRAINS = _Kind("brains", "brain.py", "BraTS", "BraTS20_Training_{:03d}", 999)


def write_heart_phantoms(root: Path, patients: int = 24, seed: int = 0) -> Path:
    """Write phantoms in the layout of the ACDC challenge, with scribbles and a split by patient.

    For each patient: ``patientNNN/patientNNN_frameFF.nii.gz``, the same with ``_gt`` (label) and
    ``_scribble`` (strokes: class values, 4 where nobody drew), and ``Info.cfg``. Beside them ``split.csv``
    (columns patient and split, about 2/3 training, 1/6 validation, 1/6 test) and ``PHANTOM.txt``. Files of
    the same name are replaced, others are left alone.

    Args:
        root: Folder to write into; made if absent.
        patients: How many, from 3 (one for each part of the split) to 999.
        seed: Chooses the whole population, an integer >= 0.

    Returns:
        The folder.

    Raises:
        ValueError: If the number of patients or the seed is out of range.
    """
    return _write_population(Path(root), _HEARTS, patients, seed, _write_heart)


def write_thorax_phantoms(root: Path, patients: int = 24, seed: int = 0) -> Path:
    """Write phantoms in the layout of the SegTHOR challenge, with a split by patient.

    For each patient: ``train/Patient_NN/Patient_NN.nii.gz`` and ``GT.nii.gz`` (label) beside it. In the
    folder ``split.csv`` (columns patient and split, about 2/3 training, 1/6 validation, 1/6 test), and in it
    and in ``train`` ``PHANTOM.txt``. Files of the same name are replaced, others are left alone. There are no
    images without label, as the challenge's folder ``test`` holds them.

    Arguments, result and errors are those of `write_heart_phantoms`, with at most 99 patients.
    """
    return _write_population(Path(root), _THORACES, patients, seed, _write_thorax)


def write_brain_phantoms(
    root: Path, patients: int = 24, seed: int = 0, modalities: Sequence[str] = MODALITIES
) -> Path:
    """Write phantoms in the layout of the BraTS challenges of 2018 to 2021, with a split by patient.

    For each patient: ``BraTS20_Training_NNN/BraTS20_Training_NNN_MODALITY.nii.gz`` for each modality, and the
    same with ``_seg`` (label: 0, 1 necrotic core, 2 edema, 4 enhancing tumor). Beside the folders
    ``split.csv`` (columns patient and split, about 2/3 training, 1/6 validation, 1/6 test) and
    ``PHANTOM.txt``. Files of the same name are replaced, others are left alone.

    Args:
        root: As for `write_heart_phantoms`, and so are `patients` and `seed`.
        patients: At most 999.
        seed: >= 0.
        modalities: 2 to 4 of ``"t1"``, ``"t1ce"``, ``"t2"`` and ``"flair"``. A file is the same whichever
            others are written.

    Returns:
        The folder.

    Raises:
        ValueError: If the number of patients, the seed or the modalities are out of range.
    """
    if not 2 <= len(modalities) == len(set(modalities)) or not set(modalities) <= set(MODALITIES):
        raise ValueError(f"Expected 2 to 4 different modalities of {MODALITIES}, got {tuple(modalities)}.")
    write = partial(_write_brain, modalities=modalities)
    return _write_population(Path(root), _BRAINS, patients, seed, write)


def _write_population(
    root: Path, kind: _Kind, patients: int, seed: int, write: Callable[[Path, int], None]
) -> Path:
    """Write each patient's folder by ``write(folder, seed)``, the split and the notes."""
    seeds = _patient_seeds(patients, kind.most, seed)
    folders = [root / kind.folder.format(number) for number in range(1, patients + 1)]
    for folder, patient_seed in zip(folders, seeds, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, patient_seed)
    _write_split(root, folders, seed)
    for marked in {root, folders[0].parent}:
        (marked / PHANTOM_FILE).write_text(_NOTE.format(**kind._asdict()))
    return root


def _patient_seeds(patients: int, most: int, seed: int) -> list[int]:
    if not 3 <= patients <= most or seed < 0:
        raise ValueError(f"Expected 3 to {most} patients and seed >= 0, got {patients} and {seed}.")
    sequences = (np.random.SeedSequence([seed, number]) for number in range(1, patients + 1))
    return [int(sequence.generate_state(1)[0]) for sequence in sequences]


def _write_split(root: Path, folders: list[Path], seed: int) -> None:
    held_out = max(1, round(len(folders) / 6))
    parts = ["validation"] * held_out + ["test"] * held_out + ["training"] * (len(folders) - 2 * held_out)
    order = np.random.default_rng(seed).permutation(len(folders))
    with (root / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patient", "split"])
        writer.writerows([folder.name, parts[place]] for folder, place in zip(folders, order, strict=True))


def _write_volume(path: Path, array: NDArray[Any], spacing: tuple[float, float, float]) -> None:
    """Write voxels whose axes run to the patient's left, back and head."""
    file = nib.Nifti1Image(array, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    file.header.set_xyzt_units("mm")
    nib.save(file, path)


def _write_heart(folder: Path, seed: int) -> None:
    scan, heart, _ = draw_patient(seed)
    for frame, number in FRAME_NUMBERS.items():
        image, label = heart_phantom(seed, frame)
        strokes = _scribble(label, np.random.default_rng([seed, number, 1]))
        for suffix, array in (("", image), ("_gt", label), ("_scribble", strokes)):
            _write_volume(folder / f"{folder.name}_frame{number:02d}{suffix}.nii.gz", array, scan.spacing)
    rng = np.random.default_rng([seed, 0, 2])
    height, weight = rng.uniform(150, 195), rng.uniform(50, 105)
    frames = "".join(f"{frame}: {number}\n" for frame, number in FRAME_NUMBERS.items())
    info = f"{frames}Group: {heart.group}\nHeight: {height:.1f}\nNbFrame: 30\nWeight: {weight:.1f}\n"
    (folder / "Info.cfg").write_text(info)


def _write_thorax(folder: Path, seed: int) -> None:
    image, label = thorax_phantom(seed)
    spacing = draw_thorax(seed).view.spacing
    _write_volume(folder / f"{folder.name}.nii.gz", image, spacing)
    _write_volume(folder / "GT.nii.gz", label, spacing)


def _write_brain(folder: Path, seed: int, modalities: Sequence[str]) -> None:
    images, label = brain_phantom(seed, modalities)
    for name, image in images.items():
        _write_volume(folder / f"{folder.name}_{name}.nii.gz", image, SPACING)
    _write_volume(folder / f"{folder.name}_seg.nii.gz", label, SPACING)


def _scribble(label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One thin stroke for each class of each slice, as by hand; `NOT_ANNOTATED` elsewhere."""
    strokes = np.full_like(label, NOT_ANNOTATED)
    anywhere = label.any(axis=2)
    for z in range(label.shape[2]):
        present = label[..., z]
        for value in (RIGHT_VENTRICLE, MYOCARDIUM, LV_CAVITY):
            if (present == value).any():
                strokes[_stroke(present == value, rng, hollow=value == LV_CAVITY), z] = value
        heart = present > 0 if present.any() else anywhere
        distance = ndimage.distance_transform_edt(~heart)
        around = (distance > 0) & (np.abs(distance - rng.uniform(4, 9)) <= 1.5)
        strokes[_stroke(around, rng, hollow=False), z] = BACKGROUND
    return strokes


def _stroke(region: NDArray[np.bool_], rng: np.random.Generator, hollow: bool) -> NDArray[np.bool_]:
    """Most of the eroded region's midline (of a ring in it, if ``hollow``), never empty."""
    found = np.zeros_like(region)
    box = tuple(
        slice(max(0, s.start - 1), s.stop + 1) for s in ndimage.find_objects(region.astype(np.uint8))[0]
    )
    depth = ndimage.distance_transform_edt(np.pad(region[box], 1))[1:-1, 1:-1]
    core = depth > (0.6 * depth.max() if hollow and depth.max() > 4 else np.inf)
    line = skeletonize((depth > 1) & ~core)
    points = np.argwhere(line if line.any() else depth == depth.max())
    angle = np.arctan2(*(points - points.mean(axis=0)).T) + rng.uniform(0, 2 * np.pi)
    kept = points[np.mod(angle, 2 * np.pi) < 2 * np.pi * rng.uniform(0.6, 0.95)]
    chosen = kept if len(kept) else points
    found[chosen[:, 0] + box[0].start, chosen[:, 1] + box[1].start] = True
    return found
