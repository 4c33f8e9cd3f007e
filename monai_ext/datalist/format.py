"""The form of a datalist's content: what must be there, what may be left out, and what it then is."""

from pathlib import Path
from typing import Any

from monai_ext.keys import (
    CASE,
    IMAGE,
    LABEL,
    MODALITIES,
    PATIENT,
    REFERENCE,
    SUPERVISION,
    TAGS,
    Supervision,
)

SECTIONS = ("training", "validation", "test")
UNITS = ("mm", "voxel")

_MASKED = {Supervision.FULL, Supervision.PARTIAL, Supervision.NOISY}


def normalized(content: Any, path: Path) -> dict[str, Any]:
    """The content of a datalist with all that it may leave out.

    Args:
        content: what the JSON file holds.
        path: the file, for messages; its folder is the default name.

    Raises:
        ValueError: the content is no datalist; the message names file and entry.
    """
    if not isinstance(content, dict) or not any(section in content for section in SECTIONS):
        raise ValueError(
            f"{path}: Expected a JSON object with one of the lists {', '.join(SECTIONS)}, got none; add one."
        )
    labels, unit = content.get("labels"), content.get("unit", "mm")
    if (
        not isinstance(labels, dict)
        or sorted(labels) != sorted(str(k) for k in range(len(labels)))
        or not labels
    ):
        raise ValueError(
            f'{path}: Expected "labels" with a name for each class, {{"0": "background"}}, got {labels!r}; '
            "number the classes from 0 without gaps."
        )
    if unit not in UNITS:
        raise ValueError(
            f'{path}: Expected "unit" one of {", ".join(UNITS)}, got {unit!r}; "voxel" if unknown.'
        )
    found = {"name": path.absolute().parent.name, "description": "", **content}
    found |= {"unit": unit, "labels": {str(k): labels[str(k)] for k in range(len(labels))}}
    found[MODALITIES] = _modalities(content.get(MODALITIES, []), path)
    for section in SECTIONS:
        entries = content.get(section, [])
        if not isinstance(entries, list):
            raise ValueError(
                f'{path}: Expected "{section}" to be a list, got {entries!r}; put the items in brackets.'
            )
        found[section] = [_normalized_item(e, f"{path}: {section}[{i}]") for i, e in enumerate(entries)]
    return found


def _modalities(names: Any, path: Path) -> list[str]:
    texts = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    if not texts or len({name.lower() for name in names}) < len(names):
        raise ValueError(
            f'{path}: Expected "{MODALITIES}" to be a list of different names, got {names!r}; '
            "name the channels in the order of the image files."
        )
    return list(names)


def _normalized_item(entry: Any, where: str) -> dict[str, Any]:
    item: Any = {IMAGE: entry, SUPERVISION: Supervision.NONE.value} if isinstance(entry, str) else entry
    if not isinstance(item, dict):
        raise ValueError(
            f'{where}: Expected an object with "{IMAGE}" and "{LABEL}", got {entry!r}; correct the entry.'
        )
    image = item.get(IMAGE)
    files: list[Any] = image if isinstance(image, list) else [image]
    if not files or not all(isinstance(file, str) and file for file in files):
        raise ValueError(
            f'{where}: Expected "{IMAGE}" to be a path or a list of paths, got {image!r}; name the file.'
        )
    case = item.get(CASE, Path(files[0]).name.removesuffix(".gz").rsplit(".", 1)[0])
    item = {SUPERVISION: Supervision.FULL.value, CASE: case, PATIENT: case, **item}
    kinds = [kind.value for kind in Supervision]
    if item[SUPERVISION] not in kinds:
        raise ValueError(
            f'{where}: Expected {SUPERVISION} one of {", ".join(kinds)}, got "{item[SUPERVISION]}"; '
            "say how the case is annotated."
        )
    if Supervision(item[SUPERVISION]) in _MASKED and LABEL not in item:
        raise ValueError(
            f'{where}: Expected "{LABEL}" for supervision "{item[SUPERVISION]}", got none; '
            f'name the file or set "{SUPERVISION}" to "{Supervision.NONE.value}".'
        )
    if item[SUPERVISION] == Supervision.TAGS.value and TAGS not in item:
        raise ValueError(
            f'{where}: Expected "{TAGS}" for supervision "{Supervision.TAGS.value}", got none; '
            f'add them, leave the item out, or set "{SUPERVISION}" to "{Supervision.NONE.value}" for a '
            "bundle that takes items without tags."
        )
    for key in {LABEL, REFERENCE, CASE, PATIENT} & item.keys():
        if not isinstance(item[key], str) or not item[key]:
            raise ValueError(f'{where}: Expected "{key}" to be a text, got {item[key]!r}; correct the entry.')
    return item
