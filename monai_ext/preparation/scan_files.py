"""Raw files of scans with several modalities, one file for each and one for the mask."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai_ext.images.files import Volume, read_volume
from monai_ext.images.grids import common_grid
from monai_ext.keys import Supervision
from monai_ext.preparation.cases import Patient

MASK = "seg"
"""What the file of the mask is called beside the modalities."""


class Case(NamedTuple):
    """One scan of a patient."""

    name: str
    patient: Patient
    images: list[Path]
    """One file for each modality."""
    mask: Path | None
    """None if only its tags are known."""


def find_files(raw: Path, suffixes: Mapping[str, Mapping[str, str]], tree: str) -> dict[str, dict[str, Path]]:
    """Files such as ``CASE_t1.nii.gz`` at any depth, compressed or not.

    Args:
        raw: the folder of the data set.
        suffixes: what a file holds by its suffix, for each separator: ``{"_": {"t1": "t1", "seg": "seg"}}``.
        tree: what the files look like, for the message.

    Returns:
        For each case, the file of everything that the suffixes name; it may be absent.

    Raises:
        ValueError: no case is there, or a file twice.
    """
    found: dict[str, dict[str, Path]] = {}
    separator_of: dict[str, str] = {}
    for path in sorted(raw.rglob("*.nii*")):
        parts = re.fullmatch(r"([^.].*)([_-])([a-z0-9]+)\.nii(?:\.gz)?", path.name)
        if not parts or "__MACOSX" in path.parts or not path.is_file():
            continue
        name, separator, suffix = parts.groups()
        if not (what := suffixes.get(separator, {}).get(suffix)):
            continue
        files = found.setdefault(name, {})
        if what in files:
            raise ValueError(f"{path}: Expected each file once, got {files[what]} too; remove one.")
        files[what] = path
        separator_of[name] = separator
    if not found:
        raise ValueError(f"Expected files {tree} under {raw}, found none; check --raw.")
    for name, files in found.items():
        folder, separator = next(iter(files.values())).parent, separator_of[name]
        for suffix, what in suffixes[separator].items():
            files.setdefault(what, folder / f"{name}{separator}{suffix}.nii.gz")
    return dict(sorted(found.items()))


def list_cases(
    files: Mapping[str, Mapping[str, Path]],
    patients: Iterable[Patient],
    patient_of: Callable[[str], str],
    modalities: Sequence[str],
    tagged: Collection[str],
) -> list[Case]:
    """Every case to prepare; that its files are there shows now.

    Args:
        files: as :func:`find_files` returns them.
        patients: all of them.
        patient_of: name of the patient by name of the case.
        modalities: those that are wanted.
        tagged: names of the cases whose tags are known without a mask.

    Raises:
        ValueError: a file is absent, or a tagged case.
    """
    if strangers := sorted(set(tagged) - set(files)):
        raise ValueError(
            f"Expected --tags of cases in the data, got {len(strangers)} others, e.g. {strangers[0]}; "
            "correct the file or the folder."
        )
    names: dict[str, list[str]] = {}
    for name in files:
        names.setdefault(patient_of(name), []).append(name)
    cases = []
    for patient in patients:
        for name in names[patient.name]:
            images, mask = [files[name][modality] for modality in modalities], files[name][MASK]
            for image in images:
                if not image.is_file():
                    raise ValueError(
                        f"{image}: Expected this file, found none; leave the modality out with --modalities, "
                        "or take out the case."
                    )
            without_mask = not mask.is_file() and name in tagged and patient.kind is Supervision.TAGS
            if not mask.is_file() and not without_mask:
                raise ValueError(
                    f"{mask}: Expected this file, found none; restore it, take out the case, or "
                    "give the tags of a training case without full mask with --tags."
                )
            cases.append(Case(name, patient, images, None if without_mask else mask))
    return cases


def read_modalities(paths: Sequence[Path]) -> list[Volume]:
    """Read the files of a case, which must be volumes of three axes on one grid.

    Raises:
        ValueError: a file cannot be read, or lies on another grid than most; the message names it.
    """
    volumes: list[Volume] = []
    for path in paths:
        volume = read_volume(path)
        if volume.array.ndim != 3:
            raise ValueError(
                f"{path}: Expected three axes, got shape {volume.array.shape}; store one volume a file."
            )
        volumes.append(volume)
    _, problems = common_grid([volume.grid for volume in volumes], [path.name for path in paths])
    if problems:
        raise ValueError(problems[0])
    return volumes
