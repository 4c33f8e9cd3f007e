"""The image files of cases with several modalities: what they are called, and what can be wrong with them."""

from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from monai_ext.images.files import channels_in_header
from monai_ext.keys import CASE, IMAGE, MODALITIES

BRATS_2023 = {"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"}
"""What BraTS calls the files of modalities from 2023 on, and what it called them before."""


def find_cases(place: str | Path, modalities: Sequence[str]) -> list[dict[str, Any]]:
    """The cases at a place, with the files of those modalities that each has, as items for inference.

    A file is called ``NAME_<modality>`` or ``NAME-<modality>``, with ``.nii.gz`` or ``.nii``; names of
    ``BRATS_2023`` count as well. A file that holds all modalities as channels, in their order, has a name of
    its own. Segmentations (``NAME_seg``) are passed over, and so is what a case has beside ``modalities``.

    Args:
        place: a file, a folder of files of one or several cases, or a folder of such folders.
        modalities: names of the channels that the network takes, in their order.

    Returns:
        Items with ``image`` (the files in the order of ``modalities``, or the one with all channels),
        ``case`` and ``modalities`` (names of those found), in the order of the names.

    Raises:
        ValueError: if there is nothing to segment, a case has none of the modalities or two files for one, or
            two cases have one name.
    """
    place = Path(place)
    files = [place] if place.is_file() else _images_in(place)
    folders = [] if files else sorted(folder for folder in place.glob("*") if folder.is_dir())
    cases: dict[str, dict[str, Path]] = {}
    others = []
    for file in [*files, *(file for folder in folders for file in _images_in(folder))]:
        name, modality = split_name(file, modalities)
        if modality is None:
            others.append(file)
        elif (first := cases.setdefault(name, {}).setdefault(modality, file)) != file:
            raise ValueError(
                f"Expected one file of {modality} for case {name}, got {first} and {file}; rename one."
            )
    found = [_case_of_files(name, files_of, modalities) for name, files_of in cases.items()]
    found += [_case_of_channels(file, modalities) for file in others if not _belongs_to(file, cases)]
    if not found:
        got = "found none" if place.exists() else "got no such file or folder"
        raise ValueError(
            f"Expected files NAME_<modality>.nii.gz of {', '.join(modalities)}, or files with all of these "
            f"channels, at {place}, {got}; set --input."
        )
    names = [item[CASE] for item in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Expected one case of each name at {place}, got two of {', '.join(twice)}; rename one."
        )
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
    stem = Path(path).name.removesuffix(".gz").rsplit(".", 1)[0]
    known = {modality.lower(): modality for modality in modalities}
    endings = {ending: known[name] for ending, name in BRATS_2023.items() if name in known} | known
    for ending in sorted(endings, key=len, reverse=True):
        name, rest = stem[: -len(ending) - 1], stem[-len(ending) - 1 :].lower()
        if name and rest in (f"_{ending}", f"-{ending}"):
            return name, endings[ending]
    return stem, None


def missing_modalities(case: Mapping[str, Any], modalities: Sequence[str]) -> list[str]:
    """Those of ``modalities`` that an item lacks; one that does not name its ``modalities`` has all."""
    return [name for name in modalities if name not in (case.get(MODALITIES) or modalities)]


def files_beside(case: Mapping[str, Any], modalities: Sequence[str]) -> list[Path]:
    """Files of modalities that an item of ``find_cases`` lacks, though they lie beside its own.

    There are some only where ``find_cases`` was given a single file.
    """
    missing = missing_modalities(case, modalities)
    if not missing:
        return []
    beside = Path(case[IMAGE][0]).parent.glob(f"{escape(case[CASE])}[_-]*")
    parts = {file: split_name(file, modalities) for file in sorted(beside)}
    return [
        file
        for file, (name, modality) in parts.items()
        if name == case[CASE] and modality in missing and file.name.endswith((".nii", ".nii.gz"))
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


def _images_in(folder: Path) -> list[Path]:
    """NIfTI files of a folder that are no segmentations."""
    files = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")])
    return [file for file in files if split_name(file, ["seg"])[1] is None]


def _case_of_files(name: str, files: Mapping[str, Path], modalities: Sequence[str]) -> dict[str, Any]:
    """An item of one file for each modality that is there."""
    there = [modality for modality in modalities if modality in files]
    return {IMAGE: [str(files[modality]) for modality in there], CASE: name, MODALITIES: there}


def _case_of_channels(file: Path, modalities: Sequence[str]) -> dict[str, Any]:
    """An item of one file that holds all modalities; one that cannot be read shows when it is opened."""
    if channels_in_header(file) not in (None, len(modalities)):
        raise ValueError(
            f"{file}: Expected the name NAME_<modality> with one of {', '.join(modalities)}, or a file with "
            "all of these channels, got neither; rename it or take it away."
        )
    return {IMAGE: str(file), CASE: split_name(file, [])[0], MODALITIES: list(modalities)}


def _belongs_to(file: Path, cases: Mapping[str, Mapping[str, Path]]) -> bool:
    """Whether a file is a further one of a case, beside its modalities."""
    name = split_name(file, [])[0]
    return name[: max(name.rfind("_"), name.rfind("-"), 0)] in cases
