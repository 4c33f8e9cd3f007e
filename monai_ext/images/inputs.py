"""What an inference is given to segment: which files, whether they can be read, what a case lacks."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.images.grids import common_grid
from monai_ext.images.headers import channels_in_header, shape_in_header
from monai_ext.images.label_files import holds_few_values, without_label_maps
from monai_ext.images.modalities import files_beside, missing_modalities, modality_problem
from monai_ext.images.problems import axes_problem, image_problems
from monai_ext.images.search import folders_at, images_in, is_readable, listed, nothing_found, others_in, stem
from monai_ext.keys import CASE, IMAGE, MODALITIES

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, Any]]


def find_images(
    place: str | Path, output_dir: str | Path | None = None, recursive: bool = False
) -> list[dict[str, Any]]:
    """The image itself, or all images of a folder, as items for inference.

    Hidden files are passed over; label maps (see ``without_label_maps``) and files of other formats too, with
    a line that names them.

    Args:
        place: a file that ``read_volume`` takes, a folder of such files, or the folder of a DICOM series.
        output_dir: where the results go; below ``place`` it is not looked into.
        recursive: whether to look through the folders below ``place``, and those that links lead to. The
            name of a case then has the folders in it, as its results do.

    Returns:
        Items with ``image`` and ``case``, in the order of the paths.

    Raises:
        InputError: if there is nothing to segment, or two files would be saved under one name.
    """
    place = Path(place)
    if place.is_file():
        if holds_few_values(place):
            logger.warning(
                f"{place} holds a few whole numbers, as a label map does; it is segmented as you named it"
            )
        return [{IMAGE: str(place), CASE: stem(place)}]
    files = files_to_segment(
        place, output_dir, math.inf if recursive else 0, "an image or a folder of images"
    )
    cases = [case_name(file, place) for file in files]
    if twice := sorted(name for name, number in Counter(cases).items() if number > 1):
        raise InputError(
            f"Expected one file for each name in {place}, found several of {', '.join(twice)} that differ in "
            "their format only; take all but one away."
        )
    return [{IMAGE: str(file), CASE: case} for file, case in zip(files, cases, strict=True)]


def files_to_segment(place: Path, output_dir: str | Path | None, levels: float, wanted: str) -> list[Path]:
    """The images in a folder and below it that are no label maps; see ``find_images``.

    A folder below it that cannot be read counts as an image, so that whoever opens it says so.

    Args:
        place: the folder.
        output_dir: below ``place`` it is not looked into.
        levels: how many levels below ``place`` are looked through.
        wanted: what is looked for, for the message.

    Raises:
        InputError: if there is none.
    """
    left_out = Path(output_dir) if output_dir is not None else None
    folders = list(folders_at(place, levels, left_out, unreadable=True)) if place.is_dir() else []
    closed = [folder for folder in folders if folder != place and not is_readable(folder)]
    looked_into = [folder for folder in folders if folder not in closed]
    images, labels = without_label_maps([file for folder in looked_into for file in images_in(folder)])
    others = [file for folder in looked_into for file in others_in(folder)]
    if not images and not closed:
        deeper = folders_at(place, levels + 1, left_out, unreadable=True) if folders else ()
        raise nothing_found(place, wanted, _with_images(set(deeper) - set(folders)), others)
    if labels:
        logger.warning(f"passed over {_many('label map', labels)}: {listed(labels, place)}")
    if others:
        logger.warning(
            f"passed over {_many('file', others)} of other formats (pictures, single DICOM files): "
            f"{listed(others, place)}"
        )
    return images + closed


def _with_images(folders: Iterable[Path]) -> list[Path]:
    return sorted(folder for folder in folders if is_readable(folder) and images_in(folder))


def _many(what: str, files: Sequence[Path]) -> str:
    return f"{len(files)} {what}{'s' * (len(files) != 1)}"


def case_name(file: Path, place: Path) -> str:
    """Name of the case of an image: its own, behind the folders that lead to it from ``place``.

    >>> case_name(Path("data/p1/scan.nii.gz"), Path("data"))
    'p1/scan'
    """
    folder = file.parent.relative_to(place) if file != place else Path()
    return (folder / stem(file.resolve() if file == place else file)).as_posix()


def header_problems(item: Mapping[str, Any]) -> list[str]:
    """What the headers of an item's files say against segmenting it, one text a problem.

    More than three axes are channels where the item names ``modalities``, and a series in time elsewhere.
    """
    if names := item.get(MODALITIES):
        return [_channels_problem(Path(item[IMAGE]), names)] if _has_other_channels(item) else []
    return [p for file in files_of(item) if (p := axes_problem(file, shape_in_header(file) or ()))]


def voxel_problems(item: Mapping[str, Any]) -> list[str]:
    """What the voxels of an item's files say against segmenting it, one text a problem.

    Where an item has several files, they must lie on one grid; where it names ``modalities``, its files must
    have as many channels.
    """
    files = files_of(item)
    problems, grids, names, channels = [], [], [], 0
    for file in files:
        try:
            volume = read_volume(file)
        except ValueError as error:
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


def files_of(item: Mapping[str, Any]) -> list[Path]:
    """The image files of an item, one or one for each modality."""
    return [Path(file) for file in (item[IMAGE] if isinstance(item[IMAGE], list) else [item[IMAGE]])]


def incomplete_problem(case: Mapping[str, Any], modalities: Sequence[str]) -> str | None:
    """Message if a case lacks a modality, for a network that needs all; else None."""
    if not (missing := missing_modalities(case, modalities)):
        return None
    return (
        f"case {case[CASE]}: Expected {', '.join(modalities)}, got no image of {and_(missing)}; segment it "
        f"with the first stage (configs/inference.yaml alone){_hint(case, modalities)}"
    )


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
            message = f"case {case[CASE]}: no image of {and_(missing)}"
            left = [name for name in modalities if name in counted and name not in missing]
            if not left:
                message += f"; the mask will be poor, since weights_of_modalities relies on {and_(counted)}"
            elif set(counted) & set(missing):
                message += f"; the mask rests on {and_(left)}"
            logger.warning(message + _hint(case, modalities))


def and_(words: Sequence[Any]) -> str:
    """The words in a row.

    >>> and_(["t1", "t2", "flair"])
    't1, t2 and flair'
    """
    return " and ".join(filter(None, [", ".join(map(str, words[:-1])), str(words[-1])]))


def _hint(case: Mapping[str, Any], modalities: Sequence[str]) -> str:
    """What to do if files that a case lacks were passed over, since ``--input`` named one file of it."""
    files = files_beside(case, modalities)
    what = "the folder, or the files of one case in a folder"
    return f"; {and_(files)} {'lies' if len(files) == 1 else 'lie'} beside it: give {what}" if files else ""


def _has_other_channels(item: Mapping[str, Any]) -> bool:
    """Whether an item has one file for all modalities, whose header promises another number of channels."""
    if isinstance(item[IMAGE], list):
        return False
    return channels_in_header(Path(item[IMAGE])) not in (None, len(item[MODALITIES]))


def _channels_problem(file: Path, modalities: Sequence[str]) -> str:
    return (
        f"{file}: Expected the name NAME_<modality> with one of {', '.join(modalities)}, or a file with "
        "all of these channels, got neither; rename it or take it away."
    )
