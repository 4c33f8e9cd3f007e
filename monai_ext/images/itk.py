"""Images that SimpleITK reads, in the axes and the convention of nibabel."""

from pathlib import Path
from typing import Any

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk() -> Any:
    """SimpleITK, imported only where it is needed, and without the warnings of its C++ side."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    return sitk


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y[, Z[, channels]]) and affine (4, 4) of a file."""
    reader = itk().ImageFileReader()
    if path.suffix.lower() in (".mha", ".mhd"):
        reader.SetImageIO("MetaImageIO")  # which it would not find for a suffix in capitals
    reader.SetFileName(str(path))
    return from_itk(reader.Execute())


def from_itk(image: Any) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (X, Y[, Z[, channels]]) and affine (4, 4) of an image of SimpleITK."""
    dims = image.GetDimension()
    array = itk().GetArrayFromImage(image)  # (Z, Y, X) or (Z, Y, X, channels)
    array = array.transpose(*reversed(range(dims)), *range(dims, array.ndim))
    if dims == 2 and array.ndim > 2:
        array = array[:, :, None]  # else channels would be taken for slices
    affine = np.eye(4)
    n = min(dims, 3)
    axes = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:n, :n] = axes[:n, :n]
    affine[:n, 3] = image.GetOrigin()[:n]
    return array, LPS_TO_RAS @ affine
