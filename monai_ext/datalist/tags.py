"""Yes-or-no tags of slices: what can be wrong with them, and the table that a cache of slices keeps."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_ext.datalist.check_entries import Entry, Problem
from monai_ext.images.grids import Grid, Volume
from monai_ext.keys import CASE, IMAGE, SUPERVISION, TAGS, UNLABELED, Supervision


def tag_problems(entries: Sequence[Entry], labels: Collection[int]) -> list[Problem]:
    """Tags that are missing, or that are not one list of 1 and 0 for each foreground class.

    Args:
        entries: items with or without tags.
        labels: the legal class indices, background 0 included.
    """
    problems = []
    for entry in entries:
        where = f"{entry.name}: tags for {entry.images[0]}:"
        if entry.tags is None:
            if entry.kind is Supervision.TAGS:
                message = (
                    f'{where} Expected tags for supervision "tags", got none; add them, leave the item out, '
                    'or set "none" for a bundle that takes items without tags.'
                )
                problems.append((entry.order, message))
        elif got := _malformed(entry.tags, foreground(labels)):
            wanted = f"1 or 0 for each slice, in one list for each of {len(foreground(labels))} classes"
            problems.append((entry.order, f"{where} Expected {wanted}, got {got}; correct the tags."))
    return problems


def untagged(sections: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """One text for each item without tags, of lists of items by section; ``tag_problems`` has kind "tags"."""
    return [
        f"{section}[{i}] ({item.get(CASE, '')}): Expected tags, one for each slice, got none; "
        "add them or leave the item out."
        for section, listed in sections.items()
        for i, item in enumerate(listed)
        if TAGS not in item and item.get(SUPERVISION) != Supervision.TAGS
    ]


def foreground(labels: Collection[int]) -> list[int]:
    """The classes that tags speak of, in their order."""
    return sorted({int(value) for value in labels} - {0})


def number_problem(entry: Entry, image: Grid, labels: Collection[int]) -> str | None:
    """Message if tags are not as many as the slices of the image, else None.

    Args:
        entry: an item. Tags that are missing or malformed have a problem of their own.
        image: the image that was opened.
        labels: the legal class indices, background 0 included.
    """
    if entry.tags is None or _malformed(entry.tags, foreground(labels)):
        return None
    slices = number_of_slices(image)
    for value, tags in zip(foreground(labels), entry.tags, strict=True):
        if len(tags) != slices:
            return (
                f"for {image.path}: Expected {slices} tags of class {value}, one for each slice along the "
                f"last axis, got {len(tags)}; correct the tags or the pairing."
            )
    return None


def tags_contradiction(entry: Entry, mask: Volume, labels: Collection[int]) -> str | None:
    """Message if tags say something else than the full mask of the case, else None.

    Args:
        entry: an item; one of kind "noisy" may contradict. Tags that are malformed or not as many as the
            slices have a problem of their own.
        mask: the full label map.
        labels: the legal class indices, background 0 included.
    """
    classes, slices = foreground(labels), number_of_slices(mask.grid)
    if entry.tags is None or entry.kind is Supervision.NOISY or _malformed(entry.tags, classes):
        return None
    if any(len(tags) != slices for tags in entry.tags) or mask.array.size != np.prod(mask.grid.shape):
        return None
    columns = mask.array.reshape(-1, slices)
    there = np.array([(columns == value).any(axis=0) for value in classes])
    wrong = there != np.array(entry.tags, dtype=bool)
    if not wrong.any():
        return None
    place, row = (int(i[0]) for i in np.nonzero(wrong.T))  # the first slice, whatever the class
    has = "shows" if there[row, place] else "does not show"
    return (
        f"for {entry.images[0]}: Expected tags that agree with the full mask {mask.path}, got "
        f"{np.count_nonzero(wrong)} that do not, first {int(not there[row, place])} of class {classes[row]} "
        f"in slice {place} (from 0), which {has} it; make the tags from the mask or correct the pairing."
    )


def constant_tags(training: Sequence[Entry], labels: Collection[int]) -> list[str]:
    """A training list of tags alone from which nothing can be learned about some class.

    Args:
        training: items of the training list; those whose tags are missing or malformed are passed over.
        labels: the legal class indices, background 0 included.
    """
    if any(entry.kind not in (Supervision.TAGS, Supervision.NONE) for entry in training):
        return []
    classes = foreground(labels)
    tagged = [entry for entry in training if entry.kind is Supervision.TAGS]
    tagged = [entry for entry in tagged if entry.tags and not _malformed(entry.tags, classes)]
    found = [{tag for entry in tagged for tag in entry.tags[k]} for k in range(len(classes))]
    return [
        f"training: Expected slices with and without class {value}, got the tag {tags.pop()} in every slice "
        f"of {len(tagged)} items, e.g. of {tagged[0].name}; add cases, or whole volumes instead of slices."
        for value, tags in zip(classes, found, strict=True)
        if len(tags) == 1
    ]


def tags_of_slices(data: Sequence[Mapping[str, Any]], depths: Sequence[int]) -> Tensor | None:
    """The tags of each slice of a set of volumes, slices of one volume after those of the other.

    Args:
        data: N' items, of which some may have ``tags``.
        depths: number of slices of each.

    Returns:
        (N, K - 1) int64, N the sum of ``depths`` and K - 1 the number of foreground classes; ``UNLABELED``
        where the item has no tags. None if no item has any.

    Raises:
        ValueError: if items have different numbers of classes, or an item another number of tags than slices.
    """
    given = [item.get(TAGS) for item in data]
    classes = {len(tags) for tags in given if tags is not None}
    if not classes:
        return None
    if len(classes) > 1:
        raise ValueError(
            f"Expected tags of the same number of classes in every item, got {sorted(classes)}; correct them."
        )
    table = torch.full((sum(depths), *classes), UNLABELED)
    for item, tags, depth, end in zip(data, given, depths, accumulate(depths), strict=True):
        if tags is None:
            continue
        if any(len(row) != depth for row in tags):
            raise ValueError(
                f"Expected {depth} tags of each class, as many as slices after the transforms, got "
                f"{[len(row) for row in tags]} for {item[IMAGE]}; correct them, or transform within slices."
            )
        table[end - depth : end] = torch.tensor(tags).T
    return table


def number_of_slices(grid: Grid) -> int:
    """Size of the third axis; 1 if there is none."""
    return grid.shape[2] if len(grid.shape) > 2 else 1


def _malformed(tags: Any, classes: Sequence[int]) -> str | None:
    """What is wrong with the form of tags, else None."""
    if not isinstance(tags, (list, tuple)) or not all(isinstance(row, (list, tuple)) for row in tags):
        return "something that is no list of lists"
    if len(tags) != len(classes):
        return f"{len(tags)} lists"
    for value, row in zip(classes, tags, strict=True):
        for place, tag in enumerate(row):
            if not isinstance(tag, int) or tag not in (0, 1):
                return f"{tag!r} for class {value} in slice {place} (from 0)"
    return None
