"""What an inference is given to segment: which files, whether they can be read, what a case lacks."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ext.images.files import VolumeError, image_problems, read_volume
from monai_ext.images.grids import common_grid
from monai_ext.images.modalities import files_beside, missing_modalities, modality_problem
from monai_ext.images.modalities import find_cases as cases_of_modalities
from monai_ext.keys import CASE, IMAGE, MODALITIES

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, Any]]
NAMED = 5
"""Cases that a message names at most."""


def find_images(place: str | Path) -> list[dict[str, str]]:
    """The image itself, or all NIfTI files of a folder, as items for inference.

    Args:
        place: a file that MONAI can read, or a folder.

    Raises:
        SystemExit: if there is nothing to segment, or two files would be saved under one name.
    """
    place = Path(place)
    files = [place] if place.is_file() else sorted([*place.glob("*.nii.gz"), *place.glob("*.nii")])
    if not files:
        found = "found none" if place.exists() else "got no such file or folder"
        sys.exit(f"Expected an image or a folder of .nii.gz or .nii files at {place}, {found}; set --input.")
    names = [file.name.removesuffix(".gz").removesuffix(".nii") for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"Expected one file for each name in {place}, found {', '.join(twice)} as .nii and .nii.gz.")
    return [{IMAGE: str(file), CASE: name} for file, name in zip(files, names, strict=True)]


def find_cases(place: str | Path, modalities: Sequence[str]) -> list[dict[str, Any]]:
    """``monai_ext.images.modalities.find_cases`` for a config: a problem ends the program with one line.

    Args:
        place: a file, a folder of files ``NAME_<modality>.nii.gz``, or a folder of such folders.
        modalities: names of the channels that the network takes, in their order.

    Raises:
        SystemExit: if there is nothing to segment, or it is not clear which files make a case.
    """
    try:
        return cases_of_modalities(place, modalities)
    except ValueError as error:
        sys.exit(str(error))


def stop_if_unreadable(images: Items) -> None:
    """Leave with exit code 1 and one line for each image file that cannot be read or is not finite.

    Where an item has several files, they must lie on one grid; where it names ``modalities``, its files must
    have as many channels.
    """
    problems = [f"image {problem}" for item in images for problem in _unreadable(item)]
    if problems:
        sys.exit("\n".join([*problems, "Nothing was segmented."]))
    logger.info(f"{len(images)} image{'s' * (len(images) != 1)} to segment")


def warn_of_missing(cases: Items, modalities: Sequence[str], weights: Sequence[float] | None = None) -> None:
    """Log one warning for each case that lacks a modality, and say what its mask then rests on.

    Args:
        cases: items of ``find_cases``.
        modalities: names of the channels that the network takes, in their order.
        weights: ``weights_of_modalities``, one number >= 0 for each; None: equal ones.
    """
    weights = [1.0] * len(modalities) if weights is None else weights
    counted = [name for name, weight in zip(modalities, weights, strict=True) if weight > 0]
    for case in cases:
        if missing := missing_modalities(case, modalities):
            message = f"case {case[CASE]}: no image of {_and(missing)}"
            left = [name for name in modalities if name in counted and name not in missing]
            if not left:
                message += f"; the mask will be poor, since weights_of_modalities relies on {_and(counted)}"
            elif set(counted) & set(missing):
                message += f"; the mask rests on {_and(left)}"
            logger.warning(message + _hint(case, modalities))


def stop_if_incomplete(cases: Items, modalities: Sequence[str]) -> None:
    """Leave with exit code 1 and one line if a case lacks a modality: for a second stage, which needs all.

    Args:
        cases: items of ``find_cases``.
        modalities: names of the channels that the network takes, in their order.
    """
    lacking = [case for case in cases if missing_modalities(case, modalities)]
    if lacking:
        named = [f"{case[CASE]} without {_and(missing_modalities(case, modalities))}" for case in lacking]
        listed = ", ".join([*named[:NAMED], *["..."] * (len(named) > NAMED)])
        sys.exit(
            f"Expected {', '.join(modalities)} of every case, got {listed}; segment "
            f"{'it' if len(named) == 1 else 'them'} with the first stage (configs/inference.yaml alone)"
            f"{_hint(lacking[0], modalities)}. Nothing was segmented."
        )


def _hint(case: Mapping[str, Any], modalities: Sequence[str]) -> str:
    """What to do if files that a case lacks were passed over, since ``--input`` named one file of it."""
    files = files_beside(case, modalities)
    what = "the folder, or the files of one case in a folder"
    return f"; {_and(files)} {'lies' if len(files) == 1 else 'lie'} beside it: give {what}" if files else ""


def _and(words: Sequence[Any]) -> str:
    """The words in a row.

    >>> _and(["t1", "t2", "flair"])
    't1, t2 and flair'
    """
    return " and ".join(filter(None, [", ".join(map(str, words[:-1])), str(words[-1])]))


def _unreadable(item: Mapping[str, Any]) -> list[str]:
    """What is wrong with the image files of an item, one text a problem."""
    files = [Path(file) for file in (item[IMAGE] if isinstance(item[IMAGE], list) else [item[IMAGE]])]
    problems, grids, names, channels = [], [], [], 0
    for file in files:
        try:
            volume = read_volume(file)
        except VolumeError as error:
            problems.append(str(error))
            continue
        grids.append(volume.grid)
        channels += volume.channels
        names.append(file.name)
        problems += image_problems(volume)
    if grids:
        problems += common_grid(grids, names)[1]
    if item.get(MODALITIES) and len(grids) == len(files):
        problems += filter(None, [modality_problem(files, channels, item[MODALITIES])])
    return problems
