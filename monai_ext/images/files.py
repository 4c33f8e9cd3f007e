"""One image file: which formats are taken, and reading all of its voxels on the grid that the file says."""

import gzip
import logging
import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_ext.errors import InputError
from monai_ext.images.dicom import read_series
from monai_ext.images.grids import Volume
from monai_ext.images.itk import read_itk
from monai_ext.images.nifti import CLASSES, file_shape, form_warning, header_for, pack, unpack
from monai_ext.images.search import (
    NIBABEL_SUFFIXES,
    NIFTI_SUFFIXES,
    PICTURE_SUFFIXES,
    is_dicom,
    is_image_name,
)

logger = logging.getLogger(__name__)

_TAKEN = "NIfTI (.nii, .nii.gz, .hdr with .img), .mha, .mhd, .nrrd, .mgz, or the folder of one DICOM series"
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    RuntimeError,
    MemoryError,
    ArithmeticError,
    ImportError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
)


class VolumeError(InputError):
    """A file is missing, or its voxels cannot be read."""


def read_volume(path: str | Path) -> Volume:
    """Read every voxel of an image, so that damage anywhere in it shows now.

    NIfTI and Analyze (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``) and ``.mgz`` are read by nibabel, and
    the checksum of a compressed file is verified; ``.mha``, ``.mhd`` and ``.nrrd`` by SimpleITK; a folder is
    taken for one DICOM series. Upper and lower case of a suffix count as equal.

    The affine of NIfTI is the sform if its code is above 0, else the qform if its code is above 0, else the
    voxel sizes (pixdim) alone, and is never rewritten. Where these disagree by more than a tenth of a voxel,
    a warning names the file and the one that was used.

    Axes of one voxel beyond the third are dropped, and an image of two axes gets a third: ``array`` is
    (X, Y, Z), or (X, Y, Z, channels).

    Args:
        path: the file, or the folder of a DICOM series.

    Raises:
        VolumeError: if there is no such file, it is truncated or of a format that is not taken, it has no
            voxel, its voxels are not real numbers, or its affine is none.
    """
    path = Path(path)
    if problem := _format_problem(path):
        raise VolumeError(f"{path}: {problem}")
    try:
        array, affine, header = _read(path)
    except VolumeError:
        raise
    except InputError as error:
        raise VolumeError(str(error)) from error
    except _READ_ERRORS as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise VolumeError(
            f"{path}: Expected a complete, readable image, got {reason}; "
            "the file is truncated, damaged or of another format: copy or export it again."
        ) from error
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise VolumeError(
            f"{path}: Expected voxels that are real numbers, got shape {array.shape} of type {array.dtype}; "
            "export the image again with one number a voxel."
        )
    affine = np.asarray(affine, dtype=float)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise VolumeError(
            f"{path}: Expected voxels with a size along three axes, got the affine "
            f"{affine[:3].round(4).tolist()}; correct the header or export the image again."
        )
    array = _three_axes(array)
    if header is None:
        header = header_for(affine, array.shape[:3])
    return Volume(path, array, affine, header)


def _format_problem(path: Path) -> str | None:
    """Why a path is no image of a format that is taken, told by its name and its first bytes; else None."""
    if path.is_dir():
        return None
    if not path.is_file():
        return "Expected a file, got nothing; correct the path or restore the file."
    name = path.name.lower()
    if is_dicom(path):
        return (
            "Expected a volume, got one DICOM file, which may be a single slice of it; "
            "give the folder that holds the files of the series and no others, or convert it to NIfTI."
        )
    if name.endswith(PICTURE_SUFFIXES):
        return f"Expected a volume, got a picture without voxel sizes; convert it: taken are {_TAKEN}."
    if not is_image_name(path):
        return f"Expected an image of a format that is taken, got another; taken are {_TAKEN}."
    return None


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Voxels, affine, and the packed header of NIfTI."""
    name = path.name.lower()
    if path.is_dir():
        return *read_series(path), None
    if name.endswith(NIFTI_SUFFIXES):
        return _read_nifti(path)
    if name.endswith(NIBABEL_SUFFIXES):
        image: Any = nib.load(path)
        header = None
        if isinstance(image, nib.Nifti1Pair):
            header = pack(Path(str(image.file_map["header"].filename)).read_bytes())
            _warn_of_forms(path, header, image.affine)
        return np.asanyarray(image.dataobj), image.affine, header
    return *read_itk(path), None


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    raw = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        raw = gzip.decompress(raw)  # to the end: unlike nibabel, this meets a truncated trailer, too
    for kind in CLASSES:
        if kind.header_class.may_contain_header(raw[: kind.header_class.sizeof_hdr]):
            raw = _with_offset(raw, kind.header_class)
            image = kind.from_bytes(raw)
            proxy: Any = image.dataobj
            need = proxy.offset + math.prod(proxy.shape) * proxy.dtype.itemsize
            if need > len(raw):  # said here, since nibabel would ask for that much memory first
                raise ValueError(f"the header promises {need} bytes, the file holds {len(raw)}")
            header = pack(raw[: kind.header_class.sizeof_hdr])
            _warn_of_forms(path, header, image.affine)
            return np.asanyarray(proxy), np.asarray(image.affine), header
    raise ValueError("no NIfTI header at its start")


def _with_offset(raw: bytes, kind: Any) -> bytes:
    """The file with the offset of its voxels right, if that lies in the header and their place is sure.

    Raises:
        ValueError: if the offset lies in the header, and the file is not just header and voxels.
    """
    header = kind(raw[: kind.sizeof_hdr], check=False)
    least = kind.single_vox_offset
    offset = float(header["vox_offset"])
    if not 0 <= offset < least:  # beyond the file is said later, with the size
        return raw
    shape, size = file_shape(header), header.get_data_dtype().itemsize
    if len(raw) != least + math.prod(shape) * size:
        raise ValueError(
            f"voxels from byte {offset:g} on, inside of the header, which takes {least}, in {len(raw)} bytes"
        )
    header["vox_offset"] = least
    return bytes(header.binaryblock) + raw[kind.sizeof_hdr :]


def _three_axes(array: np.ndarray) -> np.ndarray:
    """At least three axes, and more only where they hold more than one voxel."""
    shape = [*array.shape, 1, 1, 1][: max(array.ndim, 3)]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return array.reshape(shape)


def _warn_of_forms(path: Path, header: np.ndarray, affine: np.ndarray) -> None:
    if np.isfinite(affine).all() and (message := form_warning(unpack(header), affine)):
        _warn_once(f"{path}: {message}")


@cache
def _warn_once(message: str) -> None:
    """Files are read more than once: for the checks, and to be used."""
    logger.warning(message)
