"""Items beside each other: cases of one name, images there twice, patients in two sections, orientations."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nibabel.orientations import aff2axcodes

from monai_ext.datalist.check_entries import Entry, Problem
from monai_ext.images.grids import Grid, affine_difference


def overlap_problems(entries: list[Entry]) -> list[Problem]:
    """Patients, and image files, that lie in two sections; each is reported once for each further section."""
    problems = []
    seen: dict[tuple[str, str], dict[str, Entry]] = {}
    for entry in entries:
        keys = [("image", os.path.realpath(image)) for image in entry.images]
        for what, value in [("patient", entry.patient)] * bool(entry.patient) + keys:
            homes = seen.setdefault((what, value), {})
            if homes and entry.section not in homes:
                first = next(iter(homes.values()))
                message = (
                    f"{entry.name}: Expected {what} {value} in one section only, got it in "
                    f"{entry.section} and in {first.section} ({first.name}); "
                    "move all of its items to one section."
                )
                problems.append((entry.order, message))
            homes.setdefault(entry.section, entry)
    return problems


def case_problems(entries: Sequence[Entry]) -> list[Problem]:
    """Cases that have the name of another one; what an item does not name has no name here."""
    problems, seen = [], dict[str, Entry]()
    for entry in entries:
        first = seen.setdefault(entry.case, entry) if entry.case else entry
        if first is not entry and not _alike(first, entry, {}):  # which `repeated_images` says
            message = (
                f'{entry.name}: Expected a "case" of its own, got that of {first.name}; rename one: results '
                "and corrected labels are kept by this name."
            )
            problems.append((entry.order, message))
    return problems


class Voxels(NamedTuple):
    """What the files of an item hold."""

    image: str
    """What tells the voxels of its images from others."""
    label: str | None
    """Likewise for its label; None if there is none that can be read."""
    grid: Grid


def repeated_images(
    entries: Sequence[Entry], voxels: Mapping[int, Voxels]
) -> tuple[list[Problem], list[str]]:
    """Images that are there twice, whatever their files are called.

    Args:
        entries: items.
        voxels: what their files hold, by position; an image that cannot be used is absent.

    Returns:
        Problems: an image in two sections, an item listed again, or a copy of one. And a note if an image is
        there again with another label, as of two annotators, or at another place.
    """
    problems, again = [], []
    seen: dict[str, list[Entry]] = {}
    for entry in entries:
        key = voxels[entry.order].image if entry.order in voxels else str(_files(entry))
        earlier = seen.setdefault(key, [])
        apart = next((other for other in earlier if other.section != entry.section), None)
        twin = next((other for other in earlier if _alike(other, entry, voxels)), None)
        if apart and _files(apart) != _files(entry):  # else `overlap_problems` names the file
            text = f"Expected other images than in {apart.section}, got that of {apart.name} again"
            problems.append((entry.order, f"{entry.name}: {text}; take one of them out."))
        elif not apart and twin:
            text = f"Expected each image once, got that of {twin.name} again"
            problems.append((entry.order, f"{entry.name}: {text}; take one of them out."))
        elif not apart and earlier:
            again.append(f"{entry.name} that of {earlier[0].name}")
        earlier.append(entry)
    number = "1 item has" if len(again) == 1 else f"{len(again)} items have"
    return problems, [f"{number} the image of another item: {again[0]}"] if again else []


def orientation_notes(entries: Sequence[Entry], voxels: Mapping[int, Voxels]) -> list[str]:
    """One line if images are stored in different orientations, which is no problem.

    Args:
        entries: items.
        voxels: what their files hold, by position; an image that cannot be used is absent.
    """
    groups: dict[str, list[str]] = {}
    for entry in (entry for entry in entries if entry.order in voxels):
        groups.setdefault("".join(aff2axcodes(voxels[entry.order].grid.affine)), []).append(entry.name)
    if len(groups) < 2:
        return []
    found = ", ".join(f"{codes} in {len(names)}, e.g. {names[0]}" for codes, names in groups.items())
    return [
        f"images are stored in {len(groups)} orientations: {found}; each is turned to that of the training."
    ]


def _alike(first: Entry, second: Entry, voxels: Mapping[int, Voxels]) -> bool:
    """Whether an item is listed twice, or is a copy of another under other names."""
    if _files(first) == _files(second):
        return first.label == second.label
    if first.order not in voxels or second.order not in voxels:
        return False
    a, b = voxels[first.order], voxels[second.order]
    return a.label == b.label and not affine_difference(a.grid, b.grid)


def _files(entry: Entry) -> tuple[str, ...]:
    return tuple(map(os.path.realpath, entry.images))
