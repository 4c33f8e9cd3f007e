"""A folder of DICOM files as one volume, if it holds one series without gaps; else what is in the way."""

from itertools import pairwise
from pathlib import Path

import numpy as np

from monai_ext.errors import InputError
from monai_ext.images.itk import from_itk, itk
from monai_ext.images.search import entries, is_dicom

POSITION, ORIENTATION, DESCRIPTION = "0020|0032", "0020|0037", "0008|103e"
UNEVEN = 0.05
"""Largest difference between the distances of neighboring slices, as a share of their median."""
TILT = 0.01
"""Largest shift of slices within their own plane from one to the next, as a share of their distance."""


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of the one DICOM series in a folder.

    Args:
        folder: its subfolders are not looked into.

    Raises:
        InputError: if there is no series or more than one, a slice is missing or lies twice, slices are
            shifted (a tilted gantry), or there is but one file.
    """
    if not any(is_dicom(file) for file in entries(folder) if file.is_file()):
        raise InputError(
            f"{folder}: Expected a file, or the folder of a DICOM series, got a folder without one."
        )
    reader = itk().ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    files = {name: reader.GetGDCMSeriesFileNames(str(folder), name) for name in series}
    if len(files) != 1:
        listed = ", ".join(
            f"{_description(names[0]) or name} ({len(names)} files)" for name, names in files.items()
        )
        raise InputError(
            f"{folder}: Expected one DICOM series, got {len(files)}: {listed or 'unreadable files'}; "
            "put each into a folder of its own."
        )
    (names,) = files.values()
    if problem := _slices_problem([_place(name) for name in names]):
        raise InputError(f"{folder}: {problem}")
    reader.SetFileNames(names)
    return from_itk(reader.Execute())


def _slices_problem(places: list[tuple[np.ndarray, np.ndarray] | None]) -> str | None:
    """Why slices, by position and orientation in the order in which they are stacked, make no volume."""
    known = [place for place in places if place is not None]
    if len(places) < 2:
        return "Expected a DICOM series of several files, got one file; convert it to NIfTI."
    if len(known) < len(places):
        lacking = len(places) - len(known)
        return f"Expected the position of every slice, got {lacking} files without; export the series again."
    axes = known[0][1]
    if any(np.abs(other - axes).max() > 1e-3 for _, other in known):
        return "Expected parallel slices, got several directions; put each into a folder of its own."
    normal = np.cross(axes[:3], axes[3:])
    steps = np.array([b - a for (a, _), (b, _) in pairwise(known)])
    distances = np.abs(steps @ normal)
    median = float(np.median(distances))
    if distances.min() <= UNEVEN * median:
        return (
            "Expected one slice at each position, got several (time points?); put each volume into a folder."
        )
    uneven = np.abs(distances - median) > UNEVEN * median
    if uneven.any():
        at = int(uneven.argmax())
        return (
            f"Expected slices {median:.4g} mm apart, got {distances[at]:.4g} mm between slices {at} and "
            f"{at + 1} (from 0); a file is missing: copy the series again."
        )
    aside = np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1)
    if aside.max() > TILT * median:
        return (
            "Expected slices straight above each other, got shifted ones (a tilted gantry); convert to NIfTI."
        )
    return None


def _place(name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Position (3,) of a slice and directions (6,) of its axes, if its file says both."""
    reader = itk().ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    if not all(reader.HasMetaDataKey(key) for key in (POSITION, ORIENTATION)):
        return None
    position, axes = (
        np.array(reader.GetMetaData(key).split("\\"), dtype=float) for key in (POSITION, ORIENTATION)
    )
    return (position, axes) if len(position) == 3 and len(axes) == 6 else None


def _description(name: str) -> str:
    reader = itk().ImageFileReader()
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader.GetMetaData(DESCRIPTION).strip() if reader.HasMetaDataKey(DESCRIPTION) else ""
