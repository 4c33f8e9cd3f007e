"""What a datalist holds twice: cases of one name, images listed again, patients in two sections."""

import os
from collections.abc import Mapping, Sequence

from monai_ext.datalist.check_entries import Entry, Problem


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
        if first is not entry and not _same_files(first, entry):
            message = (
                f'{entry.name}: Expected a "case" of its own, got that of {first.name}; rename one: results '
                "and corrected labels are kept by this name."
            )
            problems.append((entry.order, message))
    return problems


def repeated_images(
    entries: Sequence[Entry], images: Mapping[int, str], labels: Mapping[int, str]
) -> tuple[list[Problem], list[str]]:
    """Images that are there twice, whatever their files are called.

    Args:
        entries: items.
        images: what tells the voxels of an item's images from others, by position of the item.
        labels: likewise for its label, where there is one.

    Returns:
        Problems: an image in two sections, or twice with the same label or without any; and a note if an
        image is there twice with different labels, as of two annotators.
    """
    problems, twins = [], []
    seen: dict[str, list[Entry]] = {}
    for entry in entries:
        earlier = seen.setdefault(images.get(entry.order, str(_files(entry))), [])
        apart = next((other for other in earlier if other.section != entry.section), None)
        alike = (e for e in earlier if labels.get(e.order) == labels.get(entry.order))
        if apart and _files(apart) != _files(entry):  # else `overlap_problems` names the file
            text = f"Expected other images than in {apart.section}, got that of {apart.name} again"
            problems.append((entry.order, f"{entry.name}: {text}; take one of them out."))
        elif not apart and (first := next(alike, None)):
            text = f"Expected each image once, got that of {first.name} again"
            problems.append((entry.order, f"{entry.name}: {text}; take one of them out."))
        elif not apart and earlier:
            twins.append(f"{entry.name} that of {earlier[0].name}")
        earlier.append(entry)
    notes = []
    if twins:
        one = len(twins) == 1
        what = "1 item has the image of another one" if one else f"{len(twins)} items have images of others"
        notes = [f"{what} with another label: {twins[0]}{'' if one else ', for example'}"]
    return problems, notes


def _files(entry: Entry) -> tuple[str, ...]:
    return tuple(map(os.path.realpath, entry.images))


def _same_files(first: Entry, second: Entry) -> bool:
    """Whether an item is listed twice, which `repeated_images` says."""
    return _files(first) == _files(second) and first.label == second.label
