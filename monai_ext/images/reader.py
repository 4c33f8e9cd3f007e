"""The one way in: image files for MONAI's ``LoadImage``, on the grid that they have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.utils import ensure_tuple

from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.images.grids import common_grid
from monai_ext.images.nifti import header_for, says_orientation
from monai_ext.images.problems import axes_problem, number_problems, whole_numbers

ORIENTED = "says_orientation"
"""Key of the meta: 0 for a file whose header does not say where its axes point to, else 1."""
HEADER = "nifti_header"
"""Key of the meta under which the bytes of the file's header are."""


class GridReader(ImageReader):
    """MONAI's ``LoadImage(reader=...)`` over ``read_volume``: the affine is the file's, never another.

    Floats that are class indices but for rounding become whole, so that nothing cuts 0.9999 down to 0.
    Several files of one case become channels, in their order; they must lie on one grid. The meta says
    ``affine``, ``original_affine``, ``spatial_shape``, ``original_channel_dim``, and under ``HEADER`` what
    ``GridWriter`` needs to write on the same grid; all are arrays or numbers.

    Args:
        several_channels: whether a fourth axis is taken for channels; else an image that has one is refused.

    Raises:
        InputError: if a file cannot be read, holds numbers that are not finite in float32 or a fourth axis
            that nobody asked for, or the files of a case do not lie on one grid.
    """

    def __init__(self, several_channels: bool = False, **kwargs: Any) -> None:
        super().__init__()
        self.several_channels = several_channels

    def verify_suffix(self, filename: Any) -> bool:
        """Every file is tried: ``read_volume`` says what it cannot take."""
        return True

    def read(self, data: Any, **kwargs: Any) -> tuple[Path, ...]:
        """The paths alone: ``LoadImage`` would answer an exception here by trying other readers."""
        return tuple(Path(file) for file in ensure_tuple(data))

    def get_data(self, img: Sequence[Path]) -> tuple[np.ndarray, dict[str, Any]]:
        """The voxels, (X, Y, Z), with the channels of one file last and those of several files first."""
        volumes = [read_volume(path) for path in img]
        problems = [text for volume in volumes for text in number_problems(volume)]
        problems += common_grid([v.grid for v in volumes], [v.path.name for v in volumes])[1]
        if not self.several_channels:
            problems += filter(None, (axes_problem(v.path, v.array.shape) for v in volumes))
        if problems:
            raise InputError("\n".join(problems))
        first = volumes[0]
        array, channel_dim = _stacked([np.ascontiguousarray(whole_numbers(v.array)) for v in volumes])
        affine, shape = first.affine.copy(), first.grid.shape
        return array, {
            "affine": affine,
            "original_affine": affine.copy(),
            "spatial_shape": np.array(shape),
            "original_channel_dim": channel_dim,
            ORIENTED: int(first.header is None or says_orientation(first.header)),
            HEADER: header_for(affine, shape) if first.header is None else first.header,
        }


def _stacked(arrays: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """One array, and the axis of its channels: NaN for none, as MONAI says it."""
    if len(arrays) == 1:
        return arrays[0], float("nan") if arrays[0].ndim == 3 else -1
    first = [np.moveaxis(array, -1, 0) if array.ndim > 3 else array[None] for array in arrays]
    return np.concatenate(first), 0
