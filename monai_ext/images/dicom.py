"""A folder of DICOM files as one volume, if it holds one series without gaps; else what is in the way."""

import re
from collections.abc import Sequence
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


_NO_IMAGE = re.compile(
    rb"1\.2\.840\.10008\.(1\.3\.10|5\.1\.4\.1\.1\.(9|11|66|67|88|104|481\.[3-9])(?!\d))(?!\d)"
)
"""Classes of directories, waveforms, presentation states, raw data, reports, documents, contours, plans."""


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y, Z) and affine (4, 4) of the one DICOM series in a folder.

    Args:
        folder: its subfolders are not looked into.

    Raises:
        InputError: if there is no series or more than one, a DICOM file cannot be read, a slice is missing or
            lies twice, slices are shifted (a tilted gantry), or there is but one file.
    """
    if not any(is_dicom(file) for file in entries(folder) if file.is_file()):
        raise InputError(
            f"{folder}: Expected a file, or the folder of a DICOM series, got a folder without one."
        )
    reader = itk().ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    files = {name: reader.GetGDCMSeriesFileNames(str(folder), name) for name in series}
    files = {name: found for name, found in files.items() if not all(_without_image(Path(f)) for f in found)}
    if len(files) != 1:
        listed = ", ".join(
            f"{_description(names[0]) or name} ({len(names)} files)" for name, names in files.items()
        )
        raise InputError(
            f"{folder}: Expected one DICOM series, got {len(files)}: {listed or 'unreadable files'}; "
            "put each into a folder of its own."
        )
    (names,) = files.values()
    if problem := _left_out(folder, names):
        raise InputError(f"{folder}: {problem}")
    if problem := _slices_problem([_place(name) for name in names], names):
        raise InputError(f"{folder}: {problem}")
    reader.SetFileNames(names)
    return from_itk(reader.Execute())


def _left_out(folder: Path, names: Sequence[str]) -> str | None:
    """Which DICOM files of a folder SimpleITK has silently left out of its one series, else None."""
    used = {Path(name).name for name in names}
    bare = any("." not in name for name in used)  # as scanners name files: an empty one then shows no mark
    damaged = [
        file.name
        for file in entries(folder)
        if file.is_file()
        and file.name not in used
        and (is_dicom(file) or (bare and "." not in file.name and file.stat().st_size == 0))
        and not _without_image(file)
    ]
    if not damaged:
        return None
    listed = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
    return (
        f"Expected every DICOM file to be a slice of the series, got {len(damaged)} that cannot be read "
        f"as one: {listed}; copy the series again, or take out what is no part of it."
    )


def _without_image(file: Path) -> bool:
    """Whether a file says in its first bytes that it is a directory, report, contour or the like."""
    if file.name.upper() == "DICOMDIR":
        return True
    with file.open("rb") as stream:
        return _NO_IMAGE.search(stream.read(1024)) is not None


def _slices_problem(places: list[tuple[np.ndarray, np.ndarray] | None], names: Sequence[str]) -> str | None:
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
    if twice := _twice([float(at @ normal) for at, _ in known], names, UNEVEN * median):
        return twice
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


def _twice(heights: list[float], names: Sequence[str], tolerance: float) -> str | None:
    """Message if slices lie at one height, whatever their order, else None."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    pairs = [(a, b) for a, b in pairwise(order) if heights[b] - heights[a] <= tolerance]
    if len(pairs) >= len(heights) / 2:
        return (
            "Expected one slice at each position, got several (time points?); put each volume into a folder."
        )
    if not pairs:
        return None
    first, second = (Path(names[k]).name for k in sorted(pairs[0]))
    return (
        f"Expected one slice at each position, got two files at one position: {first} and {second}; "
        "take out the one that is no part of the series."
    )


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
