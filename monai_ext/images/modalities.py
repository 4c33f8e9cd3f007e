"""The image files of cases with several modalities: what they are called, and what can be wrong with them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from monai_ext.errors import InputError
from monai_ext.images.headers import channels_in_header
from monai_ext.images.search import is_image_name, listed, stem
from monai_ext.keys import CASE, IMAGE, MODALITIES

logger = logging.getLogger(__name__)

BRATS_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
"""What BraTS calls the files of modalities from 2023 on, and what it called them before."""


def group_cases(files: Sequence[Path], modalities: Sequence[str], place: Path) -> list[dict[str, Any]]:
    """The cases that image files make, as items for inference.

    A file is called ``NAME_<modality>`` or ``NAME-<modality>``, or ``<modality>`` in a folder of the case's
    name; names of ``BRATS_2023`` count as well. A file that holds all modalities as channels, in their order,
    has a name of its own; one that holds others makes an item, too, which ``header_problems`` refuses. What a
    case has beside ``modalities`` is passed over, with a line that says so. Files of one name in different
    folders make one case, unless two of these folders have the same modality: then each folder has a case,
    with the folders in its name.

    Args:
        files: images, no label maps.
        modalities: names of the channels that the network takes, in their order.
        place: a folder above them, which the names of cases leave out, or the only file.

    Returns:
        Items with ``image`` (the files in the order of ``modalities``, or the one with all channels),
        ``case`` and ``modalities`` (names of those found), in the order of the names.

    Raises:
        InputError: if a case has two files for one modality, or two cases have one name.
    """
    parts: dict[str, list[tuple[str, Path]]] = {}
    others = []
    for file in files:
        name, modality = _case_and_modality(file, modalities)
        if modality is None:
            others.append(file)
        else:
            parts.setdefault(name, []).append((modality, file))
    found = []
    for name, pairs in parts.items():
        found += _cases_of_files(name, pairs, modalities, place)
    further = [file for file in others if _belongs_to(file, parts, len(modalities))]
    if further:
        logger.info(
            f"passed over {len(further)} file{'s' * (len(further) != 1)} beside {', '.join(modalities)}: "
            f"{listed(further, place)}"
        )
    found += [_case_of_channels(file, modalities) for file in others if file not in further]
    names = [item[CASE] for item in found]
    for item in found:
        if names.count(item[CASE]) > 1:
            item[CASE] = _with_folder(item[CASE], Path(item[IMAGE]), place)
    _stop_if_twice([item[CASE] for item in found], place)
    return sorted(found, key=lambda item: item[CASE])


def split_name(path: str | Path, modalities: Sequence[str]) -> tuple[str, str | None]:
    """Name of the case and modality of an image file ``NAME_<modality>`` or ``NAME-<modality>``.

    Upper and lower case count as equal, and so do the names of ``BRATS_2023``. Without such an ending, the
    whole name and None.

    >>> split_name("scans/p1_T1ce.nii.gz", ["t1", "t1ce"])
    ('p1', 't1ce')
    >>> split_name("scans/p1-t1c.nii.gz", ["t1", "t1ce"])
    ('p1', 't1ce')
    """
    whole = stem(Path(path))
    known = {modality.lower(): modality for modality in modalities}
    endings = {ending: known[name] for ending, name in BRATS_2023.items() if name in known} | known
    for ending in sorted(endings, key=len, reverse=True):
        name, rest = whole[: -len(ending) - 1], whole[-len(ending) - 1 :].lower()
        if name and rest in (f"_{ending}", f"-{ending}"):
            return name, endings[ending]
    return whole, None


def missing_modalities(case: Mapping[str, Any], modalities: Sequence[str]) -> list[str]:
    """Those of ``modalities`` that an item lacks; one that does not name its ``modalities`` has all."""
    return [name for name in modalities if name not in (case.get(MODALITIES) or modalities)]


def files_beside(case: Mapping[str, Any], modalities: Sequence[str]) -> list[Path]:
    """Files of modalities that an item of ``group_cases`` lacks, though they lie beside its own.

    There are some only where an inference was given a single file.
    """
    missing = missing_modalities(case, modalities)
    if not missing:
        return []
    beside = Path(case[IMAGE][0]).parent.glob(f"{escape(case[CASE])}[_-]*")
    parts = {file: split_name(file, modalities) for file in sorted(beside)}
    return [
        file
        for file, (name, modality) in parts.items()
        if name == case[CASE] and modality in missing and is_image_name(file)
    ]


def modality_problem(files: Sequence[Path], channels: int, modalities: Sequence[str]) -> str | None:
    """Message if a case lacks a modality, has one too many, or has them in another order; else None.

    Args:
        files: the image files of the case.
        channels: number of channels that they hold together.
        modalities: names of the channels wanted, in their order.
    """
    listed, wanted = ", ".join(map(str, files)), ", ".join(modalities)
    found = [split_name(file, modalities)[1] for file in files]
    if channels != len(modalities):
        lacking = [] if None in found else [name for name in modalities if name not in found]
        without = f" without {', '.join(lacking)}" if lacking else ""
        return (
            f"{listed}: Expected {len(modalities)} channels ({wanted}), got {channels}{without}; "
            "name one file for each modality, or leave the case out."
        )
    if len(files) == len(modalities) and any(
        name not in (None, place) for name, place in zip(found, modalities, strict=True)
    ):
        return f"{listed}: Expected files of {wanted}, got another order; name them in this order."
    return None


def _cases_of_files(
    name: str, pairs: Sequence[tuple[str, Path]], modalities: Sequence[str], place: Path
) -> list[dict[str, Any]]:
    """The case of the files of one name; a case for each of their folders if these have the same modality."""
    if len({modality for modality, _ in pairs}) == len(pairs):
        return [_case_of_files(name, dict(pairs), modalities)]
    found = []
    for folder in sorted({file.parent for _, file in pairs}):
        here: dict[str, Path] = {}
        for modality, file in pairs:
            if file.parent == folder and here.setdefault(modality, file) != file:
                raise InputError(
                    f"Expected one file of {modality} for case {name}, got {here[modality]} and {file}; "
                    "rename one."
                )
        found.append(_case_of_files(_with_folder(name, folder / name, place), here, modalities))
    return found


def _with_folder(name: str, file: Path, place: Path) -> str:
    """Name of a case, behind the folders that lead to it from ``place``."""
    return (file.parent.relative_to(place) / name).as_posix() if file.is_relative_to(place) else name


def _stop_if_twice(names: Sequence[str], place: Path) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"Expected one case of each name at {place}, got two of {', '.join(twice)}; rename one."
        )


def _case_of_files(name: str, files: Mapping[str, Path], modalities: Sequence[str]) -> dict[str, Any]:
    """An item of one file for each modality that is there."""
    there = [modality for modality in modalities if modality in files]
    return {IMAGE: [str(files[modality]) for modality in there], CASE: name, MODALITIES: there}


def _case_of_channels(file: Path, modalities: Sequence[str]) -> dict[str, Any]:
    """An item of one file that should hold all modalities."""
    return {IMAGE: str(file), CASE: split_name(file, [])[0], MODALITIES: list(modalities)}


def _case_and_modality(file: Path, modalities: Sequence[str]) -> tuple[str, str | None]:
    """As ``split_name``; where the whole name is a modality, the case is called as the folder."""
    folder = file.absolute().parent.name
    name, modality = split_name(f"{folder}_{file.name}", modalities)
    return (name, modality) if modality and name == folder else split_name(file, modalities)


def _belongs_to(file: Path, cases: Collection[str], channels: int) -> bool:
    """Whether a file is a further one of a case, and not one of all modalities."""
    name = split_name(file, [])[0]
    further = any(name.startswith((f"{case}_", f"{case}-")) for case in cases)
    return further and (channels == 1 or channels_in_header(file) != channels)
