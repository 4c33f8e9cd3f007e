"""What the header of an image says before its voxels are read: the sizes of its axes."""

from pathlib import Path
from typing import Any

import nibabel as nib

from monai_ext.images.itk import itk
from monai_ext.images.search import NIBABEL_SUFFIXES, is_dicom
from monai_ext.keys import VOXEL


def shape_in_header(path: Path) -> tuple[int, ...] | None:
    """Sizes of all axes in the header of a file, or of a folder that holds a DICOM series.

    Returns:
        Those of (X, Y, Z) or (X, Y, Z, channels), without axes of one voxel beyond the third; None if the
        header cannot be read, which shows when the voxels are.
    """
    try:
        shape = [*_shape(path), 1, 1]
    except Exception:  # of many kinds, and none of them matters here
        return None
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def unit_in_header(path: Path) -> str:
    """The unit "mm", or "voxel" where the spacing means nothing.

    That is so where a NIfTI header names another unit, or none and spacings of 1, as files have whose spacing
    was lost. Other formats are in mm by their definition.
    """
    try:
        header: Any = nib.load(path).header if path.is_file() else None
        unit = header.get_xyzt_units()[0]
    except Exception:  # no NIfTI
        return "mm"
    lost = unit == "unknown" and all(size == 1 for size in header.get_zooms()[:3])
    return VOXEL if lost or unit not in ("unknown", "mm") else "mm"


def channels_in_header(path: Path) -> int | None:
    """Size of the fourth axis, 1 if there is none; None if the header cannot be read."""
    shape = shape_in_header(path)
    return None if shape is None else (*shape, 1)[3]


def _shape(path: Path) -> tuple[int, ...]:
    if path.is_dir():
        return _shape_of_series(path)
    if path.name.lower().endswith(NIBABEL_SUFFIXES):
        return tuple(int(size) for size in nib.load(path).shape)  # type: ignore[attr-defined]
    return _shape_by_itk([path])


def _shape_of_series(folder: Path) -> tuple[int, ...]:
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file)]
    first = _shape_by_itk(files[:1])
    return (*first[:2], len(files)) if len(files) > 1 else first


def _shape_by_itk(files: list[Path]) -> tuple[int, ...]:
    reader = itk().ImageFileReader()
    reader.SetFileName(str(files[0]))
    reader.ReadImageInformation()
    channels = reader.GetNumberOfComponents()
    return (*reader.GetSize(), *[channels] * (channels > 1))
