"""Which files of a folder are label maps, so that they are not taken for images."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from monai_ext.images.files import read_volume
from monai_ext.images.search import stem

_WORDS = r"(gt|seg|segmentations?|labels?|masks?|scribbles?|preds?|predictions?|prob|ground[_-]?truth)"
_ENDING = re.compile(rf"(^|[_.-]){_WORDS}$", re.IGNORECASE)
_FOLDER = re.compile(rf"^({_WORDS}|(labels|masks)(tr|ts|val)|references?)$", re.IGNORECASE)
_VALUES = 16
"""Different values that a label map has at most, where it is known by its values."""


def without_label_maps(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images and label maps among some files.

    A file is a label map if its name ends in a word for one, such as ``NAME_gt`` or ``segmentation``, and
    either there is an image of the name before this word in the same folder, or the file holds a few small
    whole numbers. The latter also counts where its folder has such a name, ``labelsTr`` for example.

    Args:
        files: images, as ``images_in`` finds them.

    Returns:
        The images, and the label maps.
    """
    there = {(file.parent, stem(file).lower()) for file in files}
    labels = [file for file in files if _is_label_map(file, there)]
    return [file for file in files if file not in set(labels)], labels


def holds_few_values(file: Path) -> bool:
    """Whether a file has at most 16 different values, all of them whole numbers from 0 to 255."""
    try:
        array = read_volume(file).array
    except ValueError:  # whoever opens it next says so
        return False
    values = np.unique(array)
    return bool(
        len(values) <= _VALUES and ((values == np.rint(values)) & (values >= 0) & (values < 256)).all()
    )


def _is_label_map(file: Path, there: set[tuple[Path, str]]) -> bool:
    name = stem(file)
    if ending := _ENDING.search(name):
        return (file.parent, name[: ending.start()].lower()) in there or holds_few_values(file)
    return bool(_FOLDER.match(file.parent.name)) and holds_few_values(file)
