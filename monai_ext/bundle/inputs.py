"""What a config calls to find the images to segment, in a prepared folder or any other."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_ext.datalist import items, read_datalist
from monai_ext.datalist.format import SECTIONS
from monai_ext.errors import InputError
from monai_ext.images import inputs
from monai_ext.images.modalities import group_cases
from monai_ext.images.search import images_in, nothing_found
from monai_ext.keys import CASE, DATALIST, IMAGE, MODALITIES, UNIT

logger = logging.getLogger(__name__)


class Missing(list):
    """No images, since there is no such place. Tools look at a workflow before they say where images are.

    Args:
        reason: what a run that has nothing else to segment ends with.
    """

    def __init__(self, reason: InputError) -> None:
        super().__init__()
        self.reason = reason


def find_images(
    place: str | Path, output_dir: str | Path | None = None, recursive: bool = False
) -> list[dict[str, Any]]:
    """The images to segment: those of a prepared folder, by its datalist, else those that lie there.

    Args:
        place: an image, a folder of images, or one with ``datalist.json``, of which all lists are taken.
        output_dir: where the results go; below ``place`` it is not looked into.
        recursive: whether to look through the folders below ``place``.

    Returns:
        Items with ``image``, ``case`` and, by a datalist, its ``unit``; ``Missing`` without such a place.

    Raises:
        InputError: if there is nothing to segment, see ``monai_ext.images.inputs.find_images``, or a case of
            the datalist has several files.
    """
    if not Path(place).exists():
        return Missing(nothing_found(Path(place), "an image or a folder of images", []))
    if not (datalist := _datalist_at(place)):
        return inputs.find_images(place, output_dir, recursive)
    content = read_datalist(datalist)
    if content[MODALITIES]:
        raise InputError(
            f"{datalist}: Expected cases of one image, got the modalities {', '.join(content[MODALITIES])}; "
            "choose the bundle that was made for them."
        )
    return _listed(datalist, content[UNIT])


def find_cases(
    place: str | Path,
    modalities: Sequence[str],
    output_dir: str | Path | None = None,
    recursive: bool = False,
) -> list[dict[str, Any]]:
    """The cases to segment: those of a prepared folder, by its datalist, else what files make a case there.

    Args:
        place: a file, a folder of files of one or several cases, a folder of such folders, or a folder with
            ``datalist.json``.
        modalities: names of the channels that the network takes, in their order.
        output_dir: where the results go; below ``place`` it is not looked into.
        recursive: whether to look through all folders below ``place``.

    Returns:
        Items with ``image``, ``case``, ``modalities`` (names of those that the case has) and, by a datalist,
        its ``unit``; ``Missing`` without such a place.

    Raises:
        InputError: if there is nothing to segment, or it is not clear which files make a case, see
            ``monai_ext.images.modalities.group_cases``.
    """
    place = Path(place)
    if datalist := _datalist_at(place):
        content = read_datalist(datalist)
        return [
            _with_modalities(item, content[MODALITIES], modalities, datalist)
            for item in _listed(datalist, content[UNIT])
        ]
    if place.is_file():
        return group_cases([place], modalities, place.parent)
    wanted = f"files NAME_<modality>.nii.gz of {', '.join(modalities)}, or files with all of these channels,"
    alone = place.is_dir() and images_in(place)  # files of the folder itself come first
    if not place.exists():
        return Missing(nothing_found(place, wanted, []))
    levels = math.inf if recursive else 0 if alone else 1
    files = inputs.files_to_segment(place, output_dir, levels, wanted)
    return group_cases(files, modalities, place)


def _datalist_at(place: str | Path) -> Path | None:
    """The datalist that is meant by a prepared folder or by its own name."""
    place = Path(place)
    if place.name == DATALIST and place.is_file():
        return place
    return place / DATALIST if (place / DATALIST).is_file() else None


def _listed(datalist: Path, unit: str) -> list[dict[str, Any]]:
    """The cases of all sections of a datalist, each once."""
    found: dict[str, dict[str, Any]] = {}
    for item in items(datalist, *SECTIONS):
        entry = {IMAGE: item[IMAGE], CASE: item[CASE], UNIT: unit}
        if found.setdefault(item[CASE], entry)[IMAGE] != item[IMAGE]:
            raise InputError(
                f'{datalist}: Expected one image for each case, got two of case "{item[CASE]}"; name them '
                'apart under "case".'
            )
    logger.info(f"images of {datalist}")
    if not found:
        raise InputError(f"{datalist}: Expected cases to segment, got empty lists; add some, or set --input.")
    return list(found.values())


def _with_modalities(
    item: dict[str, Any], named: Sequence[str], modalities: Sequence[str], datalist: Path
) -> dict[str, Any]:
    """An item with those files of ``modalities`` that the datalist names, in their order."""
    there = [name for name in modalities if name in named]
    if not there:
        raise InputError(
            f"{datalist}: Expected the modalities {', '.join(modalities)}, got {', '.join(named) or 'none'}; "
            "choose the bundle that was made for such images, or pass --modalities."
        )
    files = item[IMAGE]
    if not isinstance(files, list):
        if not_taken := [name for name in named if name not in modalities]:
            raise InputError(
                f"{files}: Expected channels among {', '.join(modalities)}, got {', '.join(not_taken)} too; "
                "save each modality as a file of its own."
            )
        return {**item, MODALITIES: list(named)}
    chosen = dict(zip(named, files, strict=False))
    return {**item, IMAGE: [chosen[name] for name in there], MODALITIES: there}
