"""The form of one item of a datalist: what must be there, what may be left out, and what it then is."""

from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from monai_ext.datalist.names import misspelled, nearest
from monai_ext.errors import InputError
from monai_ext.keys import (
    CASE,
    IMAGE,
    LABEL,
    LABEL_SHA256,
    PATIENT,
    REFERENCE,
    SUPERVISION,
    TAGS,
    Supervision,
)

KEYS = (IMAGE, LABEL, SUPERVISION, TAGS, CASE, PATIENT, REFERENCE, LABEL_SHA256)
KINDS = tuple(kind.value for kind in Supervision)
LONGEST_NAME = 200
"""Characters of a case's name, which become a file name with an ending."""
_MASKED = {Supervision.FULL, Supervision.PARTIAL, Supervision.NOISY}


def normalized_item(entry: Any, where: str, folder: Path) -> dict[str, Any]:
    """An item with its kind of supervision; ``case`` and ``patient`` may still be absent.

    Args:
        entry: what the list holds.
        where: file and entry, for messages.
        folder: where paths start.

    Raises:
        InputError: the entry is no item.
    """
    item: Any = {IMAGE: entry, SUPERVISION: Supervision.NONE.value} if isinstance(entry, str) else entry
    if not isinstance(item, dict):
        raise InputError(
            f'{where}: Expected an object with "{IMAGE}" and "{LABEL}", got {entry!r}; correct the entry.'
        )
    if problems := key_problems(item):
        raise InputError(f"{where}: {problems[0]}")
    image = item.get(IMAGE)
    files: list[Any] = image if isinstance(image, list) else [image]
    if not files or not all(isinstance(file, str) and file for file in files):
        raise InputError(
            f'{where}: Expected "{IMAGE}" to be a path or a list of paths, got {image!r}; name the file.'
        )
    item = {SUPERVISION: Supervision.FULL.value, **item}
    if problem := kind_problem(item[SUPERVISION]):
        raise InputError(f"{where}: {problem}")
    _stop_if_incomplete(item, where)
    _stop_at_backslash([*files, *(item[key] for key in (LABEL, REFERENCE) if key in item)], where, folder)
    return item


def key_problems(item: Mapping[str, Any]) -> list[str]:
    """One text for each key of an item that seems to be another one, misspelled."""
    return [
        f'Expected the key "{meant}", got "{key}"; correct its spelling.'
        for key, meant in misspelled(item.keys(), KEYS).items()
    ]


def kind_problem(word: Any) -> str | None:
    """Message if a word is no kind of supervision, else None."""
    if word in KINDS:
        return None
    meant = nearest(word, KINDS, 0.6)
    what = f'write "{meant}"' if meant else "say how the case is annotated"
    return f"Expected {SUPERVISION} one of {', '.join(KINDS)}, got {word!r}; {what}."


def case_problem(name: str) -> str | None:
    """Message if the name of a case cannot name its results in the folder for them, else None."""
    parts = name.replace("\\", "/").split("/")
    if ".." not in parts and not PureWindowsPath(name).anchor and len(name) <= LONGEST_NAME:
        return None
    got = repr(name) if len(name) <= LONGEST_NAME else f"{len(name)} characters, {name[:20]!r} and more"
    return (
        f'Expected "{CASE}" to be a name for files, of at most {LONGEST_NAME} characters and without ".." or '
        f"the root of a path, got {got}; name the case another way."
    )


def _stop_if_incomplete(item: dict[str, Any], where: str) -> None:
    """Stop if what the kind of supervision demands is absent, or a text is none."""
    kind, none = item[SUPERVISION], Supervision.NONE.value
    if Supervision(kind) in _MASKED and item.get(LABEL) is None:
        raise InputError(
            f'{where}: Expected "{LABEL}" for supervision "{kind}", got none; '
            f'name the file or set "{SUPERVISION}" to "{none}".'
        )
    if kind == Supervision.TAGS.value and TAGS not in item:
        raise InputError(
            f'{where}: Expected "{TAGS}" for supervision "{kind}", got none; add them, leave the item out, '
            f'or set "{SUPERVISION}" to "{none}" for a bundle that takes items without tags.'
        )
    for key in (LABEL, REFERENCE, CASE, PATIENT):
        if key in item and (not isinstance(item[key], str) or not item[key]):
            raise InputError(f'{where}: Expected "{key}" to be a text, got {item[key]!r}; correct the entry.')
    if CASE in item and (problem := case_problem(item[CASE])):
        raise InputError(f"{where}: {problem}")


def _stop_at_backslash(files: list[str], where: str, folder: Path) -> None:
    """Stop at a path as Windows writes it, unless there is such a file."""
    for file in files:
        if "\\" in file and not (folder / file).exists():
            raise InputError(
                f'{where}: Expected "/" between the folders of a path, got {file!r}; replace each backslash.'
            )
