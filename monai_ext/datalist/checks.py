"""Everything that can be wrong with a datalist and its files, found before any training time is spent."""

import json
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from monai_ext.datalist.check_entries import Entry, Problem, is_sha256, parse_entries
from monai_ext.datalist.check_files import Found, check_files
from monai_ext.datalist.check_overlaps import (
    Voxels,
    case_problems,
    orientation_notes,
    overlap_problems,
    repeated_images,
)
from monai_ext.datalist.check_training import training_problems
from monai_ext.datalist.datalist import SECTIONS, image_sha256, items, read_datalist, read_json
from monai_ext.datalist.tags import tag_problems
from monai_ext.errors import InputError
from monai_ext.keys import LABEL, LABEL_SHA256, MODALITIES, REFERENCE, SUPERVISION, Supervision

logger = logging.getLogger(__name__)

_SHOWN = 20
_THREADS = 2


class DataError(InputError):
    """The datalist or its files cannot be trained on; the message has one line for each problem."""


def check_datalist(
    path: str | Path,
    references: bool = False,
    sections: Collection[str] | None = None,
    need_labels: bool = False,
) -> list[str]:
    """Find all problems of a datalist and of every file that it names.

    The validation list may hold items of kind "tags" if the training list does.

    Args:
        path: the JSON file.
        references: whether to open the full masks of cases with weaker labels and compare.
        sections: names of the sections to check; None for all, and then an absent training list is a problem.
        need_labels: whether a training list of nothing but unlabeled images is a problem.

    Returns:
        One message for each problem, in the order of the datalist; empty if there is none. A file that
        `read_datalist` refuses has one message, its reason.
    """
    try:
        datalist = read_datalist(path)
        content = {name: items(path, name) for name in sections or SECTIONS}
    except (OSError, ValueError) as error:
        return [_reason(path, error)]
    for name, section in content.items():
        for item, written in zip(section, datalist[name], strict=True):
            if REFERENCE in written:  # which `items` hides from training
                item[REFERENCE] = os.path.normpath(Path(path).absolute().parent / written[REFERENCE])
    tagged = any(item[SUPERVISION] == Supervision.TAGS for item in datalist["training"])
    scoring_kinds = ("full", "tags") if tagged else ("full",)
    modalities, labels = datalist[MODALITIES], datalist["labels"]
    return check_items(content, labels, references, need_labels, modalities, scoring_kinds)


def accept_label_changes(path: str | Path, sections: Collection[str] | None = None) -> tuple[list[str], int]:
    """Write the digests of changed label files anew, unless anything else is wrong with the datalist.

    Everything is checked as by `check_datalist`, references included. Items without a digest stay without.

    Args:
        path: the JSON file; it is replaced whole or not at all, and everything but the digests is kept.
        sections: names of the sections to check and to accept; None for all.

    Returns:
        The problems, and how many digests were written: none if there is a problem.

    Raises:
        OSError: the datalist cannot be written.
    """
    path = Path(path)
    try:
        read_datalist(path)
    except (OSError, ValueError) as error:
        return [_reason(path, error)], 0
    content = read_json(path)
    listed = [item for section in sections or SECTIONS for item in content.get(section, [])]
    changed = sum(_renew_digest(item, path.parent) for item in listed)
    if not changed:
        return check_datalist(path, references=True, sections=sections), 0
    renewed = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        renewed.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        problems = check_datalist(renewed, references=True, sections=sections)
        if not problems:
            renewed.replace(path)
    finally:
        renewed.unlink(missing_ok=True)
    return problems, 0 if problems else changed


def check_items(
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Collection[int],
    references: bool = False,
    need_labels: bool = False,
    modalities: Sequence[str] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> list[str]:
    """Find all problems of lists of items and of every file that they name; each file is read once.

    Args:
        sections: items by section; all but "training" are for evaluation and must be fully labeled. An item
            has ``image`` (one path, or one for each modality) and may have ``label``, ``supervision`` (else
            "full"), ``tags``, ``case``, ``patient`` (else the image path), ``label_sha256`` and
            ``reference``.
        labels: the legal class indices, background 0 included.
        references: whether to open the full masks of cases with weaker labels and compare.
        need_labels: whether a training list of nothing but unlabeled images is a problem.
        modalities: names of the channels that every case must have, in their order; empty: one channel
            without a name; None: not said.
        scoring_kinds: kinds of supervision that the section "validation" may hold.

    Returns:
        One message for each problem, in the order of the items; empty if there is none.
    """
    entries, problems = parse_entries(sections, scoring_kinds)
    problems += case_problems(entries) + overlap_problems(entries) + tag_problems(entries, labels)
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        groups.setdefault(tuple(map(os.path.realpath, entry.images)), []).append(entry)
    legal = {int(value) for value in labels}
    check = partial(check_files, legal=legal, references=references, modalities=modalities)
    found = list(_in_threads(check, list(groups.values())))
    problems += [problem for case in found for problem in case.problems]
    problems += _problems_of_repetition(entries, list(groups.values()), found)
    messages = [message for _, message in sorted(problems, key=lambda problem: problem[0])]
    if "training" in sections:
        training = [entry for entry in entries if entry.section == "training"]
        classes = {order: values for case in found for order, values in case.classes.items()}
        messages += training_problems(training, not sections["training"], classes, labels, need_labels)
    return messages


def require_valid(
    path_or_items: str | Path | Mapping[str, Sequence[Mapping[str, Any]]],
    labels: Collection[int] | None = None,
    references: bool = False,
    sections: Collection[str] | None = None,
    need_labels: bool = True,
    modalities: Sequence[str] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> None:
    """Stop now, with every reason, instead of in the middle of a training.

    Args:
        path_or_items: a datalist file, or items by section as for `check_items`.
        labels: the legal class indices, which items need and a datalist file brings itself.
        references: whether to open the full masks of cases with weaker labels; training never does.
        sections: names of the sections to check; None for all.
        need_labels: whether a training list of nothing but unlabeled images is a problem.
        modalities: of items, as for `check_items`; a datalist file brings them itself.
        scoring_kinds: of items, as for `check_items`; of a file as for `check_datalist`.

    Raises:
        DataError: if there is a problem; its message holds the first 20.
        InputError: if items come without labels.
    """
    if isinstance(path_or_items, (str, Path)):
        found = check_datalist(path_or_items, references, sections, need_labels)
    elif labels is None:
        raise InputError("Expected labels with a mapping of items, got None; pass the legal class indices.")
    else:
        chosen = {s: v for s, v in path_or_items.items() if sections is None or s in sections}
        found = check_items(chosen, labels, references, need_labels, modalities, scoring_kinds)
    if found:
        more = [f"... and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        raise DataError("\n".join(found[:_SHOWN] + more))


def _problems_of_repetition(
    entries: Sequence[Entry], groups: Sequence[Sequence[Entry]], found: Sequence[Found]
) -> list[Problem]:
    """Images that are there twice; what is worth knowing and no problem is logged."""
    voxels = {
        entry.order: Voxels(case.images, case.labels.get(entry.order), case.grid)
        for group, case in zip(groups, found, strict=True)
        for entry in group
        if case.images and case.grid
    }
    problems, notes = repeated_images(entries, voxels)
    for note in [*notes, *orientation_notes(entries, voxels)]:
        logger.warning(note)
    return problems


def _reason(path: str | Path, error: Exception) -> str:
    message = " ".join(str(error).split())
    return message if str(path) in message else f"{path}: {message}"


def _renew_digest(item: Any, folder: Path) -> bool:
    """Give an item that has a digest the one of its label file; whether that is another."""
    old = item.get(LABEL_SHA256) if isinstance(item, dict) else None
    if not is_sha256(old) or LABEL not in item or not (label := folder / item[LABEL]).exists():
        return False
    item[LABEL_SHA256] = image_sha256(label)
    return bool(item[LABEL_SHA256] != old.lower())


def _in_threads(check: Callable[[list[Entry]], Found], groups: list[list[Entry]]) -> Iterable[Found]:
    """Results in the order of the groups; a progress bar shows on a terminal."""
    console = Console(stderr=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(check, groups)
        yield from track(
            results,
            "Checking files",
            len(groups),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
