"""The files of one case: each is read once, and what is wrong with it or with its fellows is told."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from monai_ext.datalist.check_entries import Entry, Problem
from monai_ext.datalist.datalist import image_sha256
from monai_ext.datalist.tags import number_problem, tags_contradiction
from monai_ext.images.files import VolumeError, read_volume
from monai_ext.images.grids import Grid, Volume, common_grid
from monai_ext.images.modalities import modality_problem
from monai_ext.images.problems import contradiction, grid_problem, image_problems, label_problems
from monai_ext.keys import IMAGE, LABEL, MODALITIES, REFERENCE, TAGS, Supervision


class Found(NamedTuple):
    """What the files of one case have."""

    problems: list[Problem]
    classes: dict[int, set[int]]
    """Classes that have a voxel in the label, by position of the entry."""
    images: str | None
    """What tells the voxels of the images from others; None if one cannot be read or has a problem."""
    labels: dict[int, str]
    """Likewise for each label that can be read, by position of the entry."""
    grid: Grid | None
    """That of the images; None if none can be read, or they disagree."""


def check_files(
    entries: Sequence[Entry], legal: set[int], references: bool, modalities: Sequence[str] | None = None
) -> Found:
    """Check all files of the entries that share one image; only their label maps are held together.

    Args:
        entries: at least one item; all have the same image files.
        legal: the class indices, background included.
        references: whether to open the full masks of cases with weaker labels and compare.
        modalities: names of the channels that the case must have; empty: it has one; None: not said.
    """
    case = _Case()
    image = _check_images(case, entries[0], modalities)
    classes: dict[int, set[int]] = {}
    labels: dict[int, str] = {}
    weak: list[tuple[Entry, Volume]] = []
    strong: dict[Path, Volume] = {}
    for entry in entries:
        if image:
            case.report(entry, TAGS, [number_problem(entry, image, legal)])
        known = len(case.problems)
        if entry.label and (volume := case.read(entry, LABEL, entry.label)):
            messages, classes[entry.order] = label_problems(volume, legal, entry.kind is not Supervision.FULL)
            labels[entry.order] = _fingerprint(volume)
            case.report(entry, LABEL, messages)
            if len(case.problems) == known:  # else the label has a problem that says more
                case.report(entry, LABEL, [_digest_problem(entry)])
            if entry.kind is Supervision.PARTIAL:
                weak.append((entry, volume))
            elif entry.kind is Supervision.FULL:
                strong[volume.path] = volume
        if references and entry.reference and entry.reference not in strong:
            if volume := case.read(entry, REFERENCE, entry.reference):
                case.report(entry, REFERENCE, label_problems(volume, legal, partial=False)[0])
                strong[volume.path] = volume
    for full in strong.values():
        for entry, volume in weak:
            case.report(entry, LABEL, [contradiction(volume, full)])
        for entry in entries:
            case.report(entry, TAGS, [tags_contradiction(entry, full, legal)])
    return Found(case.problems, classes, case.images, labels, image)


class _Case:
    """Reads the files of one case and collects the problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.standard: Grid | None = None
        """That of most images, else of the first label; None while there is neither."""
        self.images_disagree = False
        """Whether no grid is that of most images, so that nothing can be compared with it."""
        self.images: str | None = None
        """What tells the voxels of all images from others."""

    def open(self, entry: Entry, role: str, path: Path) -> Volume | None:
        try:
            return read_volume(path)
        except VolumeError as error:
            self.report(entry, role, [str(error)])
            return None

    def read(self, entry: Entry, role: str, path: Path) -> Volume | None:
        """Open a label and compare its grid."""
        volume = self.open(entry, role, path)
        if volume and not self.images_disagree:
            self.standard = self.standard or volume.grid
            self.report(entry, role, [grid_problem(volume.grid, self.standard)])
        return volume

    def report(self, entry: Entry, role: str, messages: Iterable[str | None]) -> None:
        self.problems += [(entry.order, f"{entry.name}: {role} {message}") for message in messages if message]


def _check_images(case: _Case, entry: Entry, modalities: Sequence[str] | None) -> Grid | None:
    """Look at the image files one after the other; the grid of most of those that can be read."""
    named = (
        modalities
        if modalities and len(modalities) == len(entry.images)
        else [path.name for path in entry.images]
    )
    names, grids, prints, channels = [], [], [], 0
    for name, path in zip(named, entry.images, strict=True):
        if volume := case.open(entry, IMAGE, path):
            case.report(entry, IMAGE, image_problems(volume))
            names.append(name)
            grids.append(volume.grid)
            prints.append(_fingerprint(volume))
            channels += volume.channels
        volume = None  # let go of it before the next one comes
    if grids:
        case.standard, problems = common_grid(grids, names)
        case.images_disagree = case.standard is None
        case.report(entry, IMAGE, problems)
    if not case.problems:
        case.images = " ".join(prints)
    if modalities is not None and len(grids) == len(entry.images):
        problem = modality_problem if modalities else _unnamed_channels
        case.report(entry, IMAGE, [problem(entry.images, channels, modalities)])
    return case.standard


def _unnamed_channels(files: Sequence[Path], channels: int, _: Sequence[str]) -> str | None:
    """Message if a case has several channels though the datalist names none, else None."""
    if channels == 1:
        return None
    return (
        f'{", ".join(map(str, files))}: Expected one channel, since the datalist has no "{MODALITIES}", got '
        f"{channels}; keep one of them, such as one time point, or name them all."
    )


def _fingerprint(volume: Volume) -> str:
    """Digest of the voxels as numbers, however they are stored."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(str(volume.array.shape).encode())
    with np.errstate(over="ignore"):
        digest.update(np.asarray(np.ravel(volume.array, order="F"), dtype=np.float32).data)
    return digest.hexdigest()


def _digest_problem(entry: Entry) -> str | None:
    """Message if the label file has another digest than the item says, else None."""
    if entry.digest is None or entry.label is None or (found := image_sha256(entry.label)) == entry.digest:
        return None
    return (
        f"{entry.label}: Expected the file that was there when the datalist was written "
        f"(sha256 {entry.digest[:8]}...), got another ({found[:8]}...); "
        "if the change is meant, run: python -m monai_ext check DATALIST --accept-changes"
    )
