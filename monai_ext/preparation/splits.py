"""Which patients of a raw data set are for training, validation and test, and which keep their full masks."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from monai_ext.datalist.format import SECTIONS
from monai_ext.errors import InputError
from monai_ext.keys import Supervision
from monai_ext.preparation.cases import SPLIT_FILE, Patient
from monai_ext.preparation.noise_options import NO_NOISE, NoiseOptions
from monai_ext.preparation.subsets import nested_subset, split_patients


def assign_patients(
    names: Collection[str],
    raw: Path,
    split: str | None,
    full: str,
    seed: int,
    others: Supervision,
    noise: NoiseOptions = NO_NOISE,
) -> list[Patient]:
    """Say of every patient in which list it is and how it is annotated.

    Args:
        names: all patients found in ``raw``.
        raw: the folder of the data set.
        split: as for :func:`resolve_split`.
        full: as for :func:`select_full`.
        seed: of a split by shares, of the patients with full masks and of those with noise.
        others: kind of the other training patients if ``noise`` is none.
        noise: what their labels get.

    Returns:
        Patients in the order of the lists and of their names; those of validation and test are full.

    Raises:
        InputError: an option is impossible for these patients.
    """
    sections = resolve_split(split, raw, names, seed)
    complete = select_full(sections["training"], full, seed)
    rest = sorted(set(sections["training"]) - set(complete))
    kinds = dict.fromkeys(rest, Supervision.NOISY if noise.noises else others)
    corrupted = noise.choose(rest, seed)
    return [
        Patient(name, section, kinds.get(name, Supervision.FULL), name in corrupted)
        for section, members in sections.items()
        for name in members
    ]


def select_full(training: Sequence[str], full: str, seed: int) -> list[str]:
    """Training patients that keep their full masks.

    Args:
        training: all names.
        full: how many, or ``"all"``.
        seed: smaller selections of one seed are subsets of larger ones.

    Raises:
        InputError: ``full`` is neither, or too large.
    """
    if full == "all" or not training:  # nothing to choose from where everything is for the test
        return list(training)
    if not full.isdecimal():
        raise InputError(f"Expected --full to be a number of patients or all, got {full!r}.")
    if int(full) > len(training):
        raise InputError(
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
        InputError: ``split`` is none of these, there is no file, or the file and the patients disagree.
    """
    file = Path(split) if split else raw / SPLIT_FILE
    if file.is_file():
        return _read_split(file, patients)
    if split is None:
        raise InputError(f"Expected {file} or --split, got neither; pass --split FILE.csv, test or 70/10/20.")
    if split == "test":
        return {"training": [], "validation": [], "test": sorted(patients)}
    try:
        shares = [float(share) for share in split.split("/")]
    except ValueError:
        raise InputError(
            f"Expected --split FILE.csv, test or shares such as 70/10/20, got {split!r}."
        ) from None
    return split_patients(patients, shares, seed)


def _read_split(file: Path, patients: Collection[str]) -> dict[str, list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    if not rows or "split" not in rows[0][1:]:
        raise InputError(
            f"{file}: Expected the columns patient,split, got {','.join(rows[0]) if rows else 'nothing'}."
        )
    column, section_of = rows[0].index("split"), dict[str, str]()
    for line, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        name, section = row[0], row[column] if len(row) > column else ""
        if section not in SECTIONS:
            raise InputError(
                f"{file}: line {line}: Expected one of {', '.join(SECTIONS)} for {name}, got {section!r}."
            )
        if section_of.setdefault(name, section) != section:
            raise InputError(
                f"{file}: line {line}: Expected {name} in one split, got {section_of[name]} and {section}."
            )
    for names, what in (
        (set(section_of) - set(patients), "data of every patient in the file, got none"),
        (set(patients) - set(section_of), "a line for every patient in the data, got none"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise InputError(
                f"{file}: Expected {what} for {shown} ({len(names)} in all); correct the file or the folder."
            )
    return {key: sorted(name for name, section in section_of.items() if section == key) for key in SECTIONS}
