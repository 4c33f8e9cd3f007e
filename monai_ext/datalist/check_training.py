"""A training list as a whole: what cannot be learned from it."""

from collections.abc import Collection, Mapping, Sequence

from monai_ext.datalist.check_entries import Entry
from monai_ext.datalist.tags import constant_tags, foreground
from monai_ext.keys import Supervision


def training_problems(
    training: Sequence[Entry],
    empty: bool,
    classes: Mapping[int, set[int]],
    labels: Collection[int],
    need_labels: bool,
) -> list[str]:
    """A training list from which nothing can be learned, or nothing about some class.

    Args:
        training: its items, as far as they are items.
        empty: whether it holds nothing at all.
        classes: those that have a voxel, by position of each item whose label was read.
        labels: the legal class indices, background 0 included.
        need_labels: whether nothing but unlabeled images is a problem.
    """
    if empty:
        return [
            "training: Expected at least one item, got an empty list; add items or check only other sections."
        ]
    if training and all(entry.kind is Supervision.NONE for entry in training):
        got = f"training: Expected an item with a label, got {len(training)} of supervision"
        return [f'{got} "none"; add labeled cases.'] * need_labels
    return _problems_of_labels(training, classes, labels) + constant_tags(training, labels)


def _problems_of_labels(
    training: Sequence[Entry], classes: Mapping[int, set[int]], labels: Collection[int]
) -> list[str]:
    """Label maps without a voxel of any class, of the foreground, or of one class."""
    read = [entry for entry in training if entry.order in classes]
    if not read:
        return []
    found, maps = set.union(*(classes[entry.order] for entry in read)), f"{len(read)} label maps"
    for entry in training:
        found |= _tagged(entry, labels)
    advice = "check how the labels were made."
    if not found:
        got = f"got {maps} without one, e.g. of {read[0].name}"
        return [f"training: Expected a labeled voxel, {got}; {advice}"]
    missing = ", ".join(str(value) for value in foreground(labels) if value not in found)
    if not found - {0}:
        wanted = f"Expected a voxel of the foreground (label {missing})"
        return [f"training: {wanted}, got {maps} of nothing but background, e.g. of {read[0].name}; {advice}"]
    if missing and all(entry.order in classes for entry in training if entry.label):
        return [
            f"training: Expected a voxel of each class, got none of label {missing} in {maps}; "
            'add cases that show it, or take it out of "labels".'
        ]
    return []


def _tagged(entry: Entry, labels: Collection[int]) -> set[int]:
    """Classes that the tags of an item say are there."""
    try:
        return {value for value, tags in zip(foreground(labels), entry.tags or (), strict=True) if 1 in tags}
    except (TypeError, ValueError):  # malformed, which is a problem of its own
        return set()
