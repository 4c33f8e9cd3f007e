"""Items of a datalist as the checks see them, and the problems that show in names, kinds and numbers."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from monai_ext.datalist.format_items import case_problem, key_problems, kind_problem
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

_NEED_A_LABEL = (Supervision.FULL, Supervision.PARTIAL, Supervision.NOISY)

Problem = tuple[int, str]
"""Position of the entry among all of them, and the message."""


class Entry(NamedTuple):
    """One item whose files can be looked for."""

    order: int
    section: str
    name: str
    images: tuple[Path, ...]
    label: Path | None
    reference: Path | None
    kind: Supervision | None
    patient: str
    digest: str | None
    """SHA-256 that the bytes of the label should have, in lower case."""
    tags: Any
    """As the item says, of whatever form; None without."""
    case: str
    """Empty if the item says nothing."""


def parse_entries(
    sections: Mapping[str, Sequence[Any]], scoring_kinds: Collection[str] = ("full",)
) -> tuple[list[Entry], list[Problem]]:
    """Items whose files can be looked for, and the problems that show without opening one.

    Args:
        sections: items by section.
        scoring_kinds: kinds of supervision that the section "validation" may hold. Every other section but
            "training" holds "full" only.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    numbered = [(section, i, item) for section, content in sections.items() for i, item in enumerate(content)]
    for order, (section, i, item) in enumerate(numbered):
        name = f"{section}[{i}]"
        if isinstance(item, Mapping):
            name += f" ({item[CASE]})" if item.get(CASE) else ""
            allowed = [Supervision(kind) for kind in scoring_kinds] if section == "validation" else []
            entry, messages = _parse(order, section, name, item, allowed or [Supervision.FULL])
            entries += [entry] if entry else []
        else:
            messages = [f"Expected an item with an image, got {item!r}; write an object."]
        problems += [(order, f"{name}: {message}") for message in messages]
    return entries, problems + _unlabeled(entries)


def _parse(
    order: int, section: str, name: str, item: Mapping[str, Any], scoring: Collection[Supervision]
) -> tuple[Entry | None, list[str]]:
    """An item, if its files can be looked for, and what is wrong with it."""
    named = case_problem(str(item.get(CASE) or ""))
    messages = [*key_problems(item), *([named] if named else [])]
    images = item.get(IMAGE)
    images = [images] if isinstance(images, (str, Path)) else images
    if not isinstance(images, (list, tuple)) or not images or not all(map(_is_path, images)):
        got = f"Expected image to be a path or a list of paths, got {images!r}"
        return None, [*messages, f"{got}; add it."]
    paths = [item.get(LABEL), item.get(REFERENCE)]
    if not all(path is None or _is_path(path) for path in paths):
        return None, [*messages, f"Expected label and reference to be paths, got {paths}; correct them."]
    label, reference = (Path(path) if path else None for path in paths)
    kind, kind_messages = _kind(section, item.get(SUPERVISION, Supervision.FULL), label, scoring)
    digest, digest_messages = _digest(item.get(LABEL_SHA256))
    patient, case = (str(item.get(key) or "") for key in (PATIENT, CASE))
    files = tuple(map(Path, images)), label, reference
    entry = Entry(order, section, name, *files, kind, patient, digest, item.get(TAGS), case)
    return entry, [*messages, *kind_messages, *digest_messages]


def _unlabeled(entries: Sequence[Entry]) -> list[Problem]:
    """Sections that score and hold images without annotation, as the Decathlon's test list; one text each."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.section != "training" and entry.kind is Supervision.NONE:
            found.setdefault(entry.section, []).append(entry)
    return [
        (
            listed[0].order,
            f"{listed[0].name}{f' and {len(listed) - 1} more' * (len(listed) > 1)}: Expected supervision "
            '"full" in a section that scores, got "none"; give the full masks, or take these images out: '
            "inference segments them by --input.",
        )
        for listed in found.values()
    ]


def is_sha256(value: Any) -> TypeGuard[str]:
    """Whether a value is a text of 64 hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-fA-F]{64}", value) is not None


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, Path)) and bool(str(value))


def _digest(value: Any) -> tuple[str | None, list[str]]:
    """The digest in lower case, and whether it is one."""
    if is_sha256(value):
        return value.lower(), []
    message = (
        f"Expected {LABEL_SHA256} to be 64 hexadecimal digits, got {value!r}; restore it or take it out."
    )
    return None, [message] * (value is not None)


def _kind(
    section: str, word: Any, label: Path | None, scoring: Collection[Supervision]
) -> tuple[Supervision | None, list[str]]:
    """The kind of supervision, and whether it fits the section and the label."""
    if problem := kind_problem(word):
        return None, [problem]
    kind = Supervision(word)
    messages = []
    if label is None and kind in _NEED_A_LABEL:
        messages.append(
            f'Expected a label for supervision "{kind.value}", got none; '
            'add its path or set supervision to "none".'
        )
    if section != "training" and kind not in (*scoring, Supervision.NONE):
        wanted = " or ".join(f'"{allowed.value}"' for allowed in scoring)
        messages.append(
            f'Expected supervision {wanted} in a section that scores, got "{kind.value}"; '
            "give the full mask or move the item to training."
        )
    return kind, messages
