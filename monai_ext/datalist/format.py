"""The form of a datalist's content: what must be there, what may be left out, and what it then is."""

from pathlib import Path
from typing import Any

from monai_ext.datalist.format_items import normalized_item
from monai_ext.datalist.names import distinct_names, misspelled
from monai_ext.errors import InputError
from monai_ext.keys import CASE, IMAGE, MODALITIES, PATIENT

SECTIONS = ("training", "validation", "test")
UNITS = ("mm", "voxel")
DECATHLON_MODALITY = "modality"
"""What the Medical Segmentation Decathlon calls the channels: names by number."""

_KEYS = ("name", "description", "labels", "unit", MODALITIES, *SECTIONS)
_NNUNET = ("channel_names", "file_ending")


def normalized(content: Any, path: Path) -> dict[str, Any]:
    """The content of a datalist with all that it may leave out.

    Args:
        content: what the JSON file holds.
        path: the file, for messages; its folder is the default name.

    Raises:
        InputError: the content is no datalist; the message names file and entry.
    """
    _stop_if_no_datalist(content, path)
    labels = content["labels"]
    found = {"name": path.absolute().parent.name, "description": "", "unit": "mm", **content}
    found["labels"] = {str(k): labels[str(k)] for k in range(len(labels))}
    found[MODALITIES] = _modalities(content, path)
    for section in SECTIONS:
        entries = content.get(section, [])
        if not isinstance(entries, list):
            raise InputError(
                f'{path}: Expected "{section}" to be a list, got {entries!r}; put the items in brackets.'
            )
        places = [f"{path}: {section}[{i}]" for i in range(len(entries))]
        found[section] = [
            normalized_item(entry, where, path.parent) for entry, where in zip(entries, places, strict=True)
        ]
    _fill_in_names([item for section in SECTIONS for item in found[section]])
    return found


def _stop_if_no_datalist(content: Any, path: Path) -> None:
    if not isinstance(content, dict) or not any(section in content for section in SECTIONS):
        got = "none; add one"
        if isinstance(content, dict) and any(key in content for key in _NNUNET):
            got = "a dataset.json of nnU-Net, which names no file; list image and label of every case"
        raise InputError(
            f"{path}: Expected a JSON object with one of the lists {', '.join(SECTIONS)}, got {got}."
        )
    for key, meant in misspelled(content.keys(), [*_KEYS, DECATHLON_MODALITY], 0.75).items():
        if not (meant == MODALITIES and DECATHLON_MODALITY in content):
            raise InputError(f'{path}: Expected the key "{meant}", got "{key}"; correct its spelling.')
    labels, unit = content.get("labels"), content.get("unit", "mm")
    if not isinstance(labels, dict) or not labels or sorted(labels) != sorted(map(str, range(len(labels)))):
        raise InputError(
            f'{path}: Expected "labels" with a name for each class, {{"0": "background"}}, got {labels!r}; '
            "number the classes from 0 without gaps."
        )
    names = [str(name) for name in labels.values()]
    if twice := next((name for name in names if names.count(name) > 1), None):
        numbers = " and ".join(key for key, name in labels.items() if str(name) == twice)
        raise InputError(
            f'{path}: Expected "labels" with a name of its own for each class, got "{twice}" for {numbers}; '
            "name the classes apart."
        )
    if unit not in UNITS:
        raise InputError(
            f'{path}: Expected "unit" one of {", ".join(UNITS)}, got {unit!r}; "voxel" if unknown.'
        )


def _modalities(content: dict[str, Any], path: Path) -> list[str]:
    """Names of the channels; those of the Decathlon's form if it names several."""
    names = content.get(MODALITIES, [])
    numbered = content.get(DECATHLON_MODALITY)
    if MODALITIES not in content and isinstance(numbered, dict) and len(numbered) > 1:
        names = list(numbered.values())
    texts = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    if not texts or len({name.lower() for name in names}) < len(names):
        raise InputError(
            f'{path}: Expected "{MODALITIES}" to be a list of different names, got {names!r}; '
            "name the channels in the order of the image files."
        )
    return list(names)


def _fill_in_names(items: list[dict[str, Any]]) -> None:
    """Name each case that has no name by the end of its image's path that no other case has."""
    unnamed = [item for item in items if CASE not in item]
    images = [item[IMAGE][0] if isinstance(item[IMAGE], list) else item[IMAGE] for item in unnamed]
    names = distinct_names(images, {item[CASE] for item in items if CASE in item})
    for item, name in zip(unnamed, names, strict=True):
        item[CASE] = name
    for item in items:
        item.setdefault(PATIENT, item[CASE])
