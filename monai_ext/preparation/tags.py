"""A yes-or-no tag for each slice instead of a mask: the options, the cases, the datalist."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monai_ext.datalist.datalist import SECTIONS, write_datalist
from monai_ext.errors import InputError
from monai_ext.images.grids import Volume
from monai_ext.keys import DATALIST, TAGS, Supervision
from monai_ext.preparation.cases import Prepared, write_case
from monai_ext.preparation.command import Items, describe, measured_unit, write_cases
from monai_ext.preparation.scan_files import Case, read_modalities

ReadRegion = Callable[[Path, Volume], NDArray[np.uint8]]
"""Reads a mask on the grid of an image: 1 in the region, 0 elsewhere."""


class TagOptions(NamedTuple):
    """Modalities and tags as asked for on a command line."""

    modalities: list[str]
    """In the order of the channels."""
    given: Mapping[str, Mapping[int, int]]
    """Tags by slice of the cases without mask."""


def tag_options(modalities: str | None, known: Sequence[str], tags: Path | None) -> TagOptions:
    """Understand ``--modalities`` and ``--tags``.

    Args:
        modalities: such as ``"t1,flair"``; None for all.
        known: those that the data set has.
        tags: CSV file with the columns case, slice (from 0 along the last axis) and tag (0 or 1).

    Raises:
        InputError: a modality is unknown or given twice, or the file is not as described; the message names
            the option or the line.
    """
    chosen = list(known) if modalities is None else [name.strip() for name in modalities.split(",")]
    if not set(chosen) <= set(known) or len(chosen) > len(set(chosen)):
        raise InputError(f"Expected --modalities among {','.join(known)}, each once, got {modalities}.")
    return TagOptions(chosen, _read_tags(tags) if tags else {})


def _read_tags(path: Path) -> dict[str, dict[int, int]]:
    tags: dict[str, dict[int, int]] = {}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        if not {"case", "slice", "tag"} <= set(rows.fieldnames or ()):
            raise InputError(f"{path}: Expected the columns case,slice,tag, got {rows.fieldnames}; add them.")
        for row in rows:
            name, number, tag = (row[column] or "" for column in ("case", "slice", "tag"))
            if not number.isdecimal() or tag not in ("0", "1") or int(number) in tags.get(name, {}):
                raise InputError(
                    f"{path}: line {rows.line_num}: Expected each slice of {name} once, from 0, with tag "
                    f"0 or 1, got slice {number!r} with tag {tag!r}; correct the line."
                )
            tags.setdefault(name, {})[int(number)] = int(tag)
    return tags


def slice_tags(mask: NDArray[Any]) -> list[int]:
    """Whether each slice shows the region.

    Args:
        mask: (H, W, D), not 0 in the region.

    Returns:
        1 or 0 for each of the D slices.
    """
    return [int(count > 0) for count in np.count_nonzero(mask, axis=(0, 1))]


def write_tagged_case(
    case: Case,
    out: Path,
    read_region: ReadRegion,
    options: TagOptions,
) -> tuple[dict[str, Any], Prepared]:
    """Write the images, the label of a case that is fully labeled or else the reference, and find the tags.

    Args:
        case: its files.
        out: folder of the datalist.
        read_region: reads a mask on the grid of an image: 1 in the region, 0 elsewhere.
        options: the tags of a case without mask.

    Returns:
        The item of the datalist, and what the summary counts.

    Raises:
        InputError: files disagree, or the given tags are not one for each slice.
    """
    images = read_modalities(case.images)
    slices = images[0].array.shape[-1]
    if case.mask is None:
        truth, known = None, options.given[case.name]
        if sorted(known) != list(range(slices)):
            raise InputError(
                f"{case.images[0]}: Expected --tags of {case.name} for the slices 0 to {slices - 1}, got "
                f"{len(known)} tags up to slice {max(known)}; complete the file."
            )
        tags = [known[number] for number in range(slices)]
    else:
        truth = read_region(case.mask, images[0])
        tags = slice_tags(truth)
    label = truth if case.patient.kind is Supervision.FULL else None
    item, counts = write_case(out, images, truth, label, patient=case.patient, case=case.name)
    return item | {TAGS: [tags]}, counts


def _positive_slices(items: Items) -> str:
    counts = []
    for section in SECTIONS:
        tags = [tag for item in items[section] for tag in item[TAGS][0]]
        if tags:
            counts.append(f"{sum(tags)} of {len(tags)} in {section}")
    return f"positive slices: {', '.join(counts)}"


def prepare_with_tags(
    cases: Sequence[Case],
    out: Path,
    options: TagOptions,
    read_region: ReadRegion,
    *,
    title: str,
    name: str,
    labels: Mapping[int, str],
    seed: int,
    spacing_unknown: bool,
    no_1_mm: str = "",
    notes: Sequence[str] = (),
) -> tuple[list[Prepared], str]:
    """Write the files of all cases and the datalist.

    Args:
        cases: in the order of the datalist.
        out: its folder.
        options: as :func:`tag_options` returns them.
        read_region: as for :func:`write_tagged_case`.
        title: of the data set, and what was made of it.
        name: of the data set in the datalist.
        labels: name of the background and of the region.
        seed: of the command.
        spacing_unknown: whether the user says so.
        no_1_mm: as for :func:`monai_ext.preparation.command.measured_unit`.
        notes: what else is worth saying, each in one line.

    Returns:
        What the summary shows.
    """
    items, prepared = write_cases(
        cases, lambda case: write_tagged_case(case, out, read_region, options), title
    )
    report = [_positive_slices(items), *notes]
    others = "; ".join(["tags of slices", *report])
    patients = list(dict.fromkeys(case.patient for case in cases))
    write_datalist(
        out / DATALIST,
        name=name,
        labels=labels,
        unit=measured_unit(prepared, spacing_unknown, no_1_mm),
        description=describe(title, seed, patients, others),
        modalities=options.modalities,
        **items,
    )
    return prepared, "\n".join(report)
