"""The project's datalist: MONAI's Decathlon-style JSON in which every item says how it is annotated.

A file holds ``name``, ``description``, ``labels`` (``{"0": "background", "1": ...}``), ``unit`` (``"mm"``,
or ``"voxel"`` where the spacing is unknown), ``modalities`` (names of the channels of every image; absent
if there is one) and the lists ``training``, ``validation`` and ``test``. All paths are relative to its
folder.
An item::

    {"image": "images/a_01.nii.gz", "label": "labels/a_01.nii.gz", "supervision": "partial",
     "case": "a_01", "patient": "a", "reference": "reference/a_01.nii.gz"}

``image`` may be a list, one file for each of the ``modalities``, in their order. ``tags`` hold one list for
each foreground class, in the order of ``labels``, and in it 1 or 0 for each slice along the last axis of the
image. ``reference`` is the full mask of a case with weaker labels, for comparison only; :func:`items` leaves
it out, so that training cannot open it. ``label_sha256`` is the digest of the label file, or of all its
files if it has several, by which the checks notice that it was changed; :func:`write_datalist` adds it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ext.datalist.format import SECTIONS, normalized
from monai_ext.errors import InputError
from monai_ext.images.companions import files_of_image
from monai_ext.keys import IMAGE, LABEL, LABEL_SHA256, MODALITIES, REFERENCE, Supervision

_PATHS = (IMAGE, LABEL, REFERENCE)

PHANTOM_FILE = "PHANTOM.txt"
"""Lies in every folder of computer-made images, so that nobody takes a result on them for a clinical one."""


def dataset_name(raw: Path, name: str) -> str:
    """Name of the data in ``raw`` for people: ``name``, or what it imitates if it is computer-made."""
    if not (raw / PHANTOM_FILE).is_file():
        return name
    return f"{name}-like phantoms, computer-made: no result on them says anything about patients"


def write_datalist(
    path: str | Path,
    *,
    name: str,
    labels: Mapping[int, str],
    unit: str = "mm",
    description: str = "",
    modalities: Sequence[str] = (),
    training: Iterable[Mapping[str, Any]] = (),
    validation: Iterable[Mapping[str, Any]] = (),
    test: Iterable[Mapping[str, Any]] = (),
) -> Path:
    """Write a datalist, whole or not at all.

    Args:
        path: the JSON file; its folder must exist.
        name: name of the data set.
        labels: name of each class from 0 (background) up.
        unit: ``"mm"``, or ``"voxel"`` if the spacing in the headers means nothing.
        description: where the data come from and how they were prepared.
        modalities: names of the channels, in the order of every item's image files; left out if empty.
        training: items as the module describes; absolute paths are made relative to the folder of ``path``,
            and ``label_sha256`` is added where the label file exists and the item does not have the key.
        validation: likewise.
        test: likewise.

    Returns:
        ``path``.

    Raises:
        InputError: an argument is what :func:`read_datalist` would refuse; nothing is written.
    """
    path = Path(path)
    sections = {"training": training, "validation": validation, "test": test}
    content: dict[str, Any] = {
        "name": name,
        "description": description,
        "labels": {str(k): v for k, v in sorted(labels.items())},
        "unit": unit,
    }
    if modalities:
        content[MODALITIES] = list(modalities)
    for key, section in sections.items():
        content[key] = [_with_relative_paths(item, path.parent) for item in section]
    normalized(content, path)
    for item in (item for section in sections for item in content[section]):
        if LABEL in item and (label := path.parent / item[LABEL]).exists():
            item.setdefault(LABEL_SHA256, image_sha256(label))
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def image_sha256(path: str | Path) -> str:
    """SHA-256 of the bytes of an image's file, or of all its files in a row, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in files_of_image(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def read_datalist(path: str | Path) -> dict[str, Any]:
    """Read a datalist and fill in what it may leave out.

    Defaults: ``name`` the folder, ``description`` empty, ``unit`` mm, ``modalities`` and absent lists
    empty; in an item ``supervision`` full (the dense masks of MONAI Label), ``case`` the image's file name,
    with its folders where file names repeat, ``patient`` the case. A plain string among the items is an image
    without annotation, as in the Decathlon's test lists, whose ``modality`` becomes ``modalities`` if it
    names several.

    Args:
        path: the JSON file.

    Returns:
        The file's content, paths still relative to its folder, ``labels`` in the order of the classes.

    Raises:
        InputError: there is no such file, or it is no datalist; the message names file and entry.
    """
    path = Path(path)
    return normalized(read_json(path), path)


def read_json(path: Path) -> Any:
    """What a JSON file holds; a byte order mark at its start, as Windows writes it, is no part of that.

    Raises:
        InputError: there is no such file, it is not JSON in UTF-8, or an object has a key twice.
    """
    if not path.is_file():
        raise InputError(
            f"Expected a datalist at {path}, found none; make it with a prepare.py under datasets/."
        )
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except OSError as error:
        raise InputError(f"{path}: Expected a file that can be read, got {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: Expected JSON in UTF-8, got another encoding; save the file as UTF-8."
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{path}: Expected a datalist, got brackets within brackets without end; restore the file."
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: Expected JSON, got an error: {error}; correct the file.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f'the key "{twice}" stands twice in one object')
    return dict(pairs)


def items(path: str | Path, *sections: str, first_available: bool = False) -> list[dict[str, Any]]:
    """Items of some lists as MONAI's datasets take them: absolute paths, every key present but ``reference``.

    MONAI's own ``load_decathlon_datalist`` is not used: it turns any text, a case's name for
    example, into a path where a file or folder of that name happens to exist.

    Args:
        path: the JSON file.
        sections: one or more of ``training``, ``validation`` and ``test``.
        first_available: take the first of them that is not empty instead of all.

    Returns:
        Dictionaries with ``image``, ``supervision``, ``case``, ``patient``, ``label`` and ``tags`` where
        there are some, and any further keys of the file.

    Raises:
        InputError: there is no such file, or it is no datalist, a section is unknown, or ``first_available``
            finds none but empty lists.
    """
    if not sections or not set(sections) <= set(SECTIONS):
        raise InputError(
            f"Expected sections among {', '.join(SECTIONS)}, got {', '.join(sections) or 'none'}."
        )
    content, folder = read_datalist(path), Path(path).absolute().parent
    found = [content[section] for section in sections]
    if first_available:
        found = [section for section in found if section][:1]
        if not found:
            raise InputError(f"{path}: Expected cases under {' or '.join(sections)}, found none; add some.")
    return [_with_absolute_paths(item, folder) for section in found for item in section]


def _with_relative_paths(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    def relative(file: str | Path) -> str:
        return Path(os.path.relpath(file, folder.absolute()) if Path(file).is_absolute() else file).as_posix()

    return _with_paths({k: v.value if isinstance(v, Supervision) else v for k, v in item.items()}, relative)


def _with_absolute_paths(item: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    item = {key: value for key, value in item.items() if key != REFERENCE}
    return _with_paths(item, lambda file: os.path.normpath(folder / file))


def _with_paths(item: Mapping[str, Any], change: Callable[[str | Path], str]) -> dict[str, Any]:
    def changed(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [changed(v) for v in value]
        return change(value) if isinstance(value, (str, Path)) else value

    return {key: changed(value) if key in _PATHS else value for key, value in item.items()}
