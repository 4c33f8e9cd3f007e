"""NIfTI headers: where their forms contradict each other, and files on the grid of a header."""

import logging
from typing import Any

import nibabel as nib
import numpy as np

from monai_ext.images.grids import corner_shift

DISAGREEMENT = 0.1
"""Distance in voxels from which on two forms of a header are said to disagree."""

# It says what it corrects in its own copy of a header, which ours is not, and what it raises as an error.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)

CLASSES = (nib.Nifti1Image, nib.Nifti2Image)
_HEADER_BYTES = nib.Nifti2Header.sizeof_hdr  # the longer of the two, so that all headers are of one length
_GEOMETRY = (
    "dim_info pixdim xyzt_units qform_code sform_code quatern_b quatern_c quatern_d "
    "qoffset_x qoffset_y qoffset_z srow_x srow_y srow_z"
).split()


def pack(header: bytes) -> np.ndarray:
    """The bytes of a NIfTI header as an array of one length, which MONAI's collation can carry."""
    packed = np.zeros(_HEADER_BYTES, dtype=np.uint8)
    part = np.frombuffer(header[:_HEADER_BYTES], dtype=np.uint8)
    packed[: len(part)] = part
    return packed


def unpack(packed: Any) -> Any:
    """The header (``Nifti1Header`` or ``Nifti2Header``) of ``pack``, nothing corrected."""
    raw = np.asarray(packed, dtype=np.uint8).tobytes()
    kind = next(k.header_class for k in CLASSES if k.header_class.may_contain_header(raw))
    return kind(binaryblock=raw[: kind.sizeof_hdr], check=False)


def header_for(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A packed header for voxels that come without one: both forms from the affine, in mm."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    return pack(header.binaryblock)


def file_shape(header: Any) -> tuple[int, ...]:
    """All axes as the file has them, those of one voxel included."""
    dim = np.asarray(header["dim"])
    return tuple(int(size) for size in dim[1 : int(dim[0]) + 1])


def affine_of(packed: Any) -> np.ndarray:
    """The affine that counts in a packed header, as nibabel reads it from a file."""
    given = unpack(packed)
    affine: np.ndarray = type(given)(binaryblock=given.binaryblock, check=True).get_best_affine()
    return affine


def says_orientation(packed: Any) -> bool:
    """Whether a packed header says where its axes point to; with both codes at 0 it does not."""
    header = unpack(packed)
    return int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0


def form_warning(header: Any, affine: np.ndarray) -> str | None:
    """Message if a header says in two places where its voxels lie and these are not one place, else None.

    Args:
        header: as ``unpack`` gives it.
        affine: the one that counts: the sform if its code is above 0, else the qform, else the pixdim alone.
    """
    shape = file_shape(header)[:3]
    if int(header["sform_code"]) <= 0:
        return None  # the qform is made of the pixdim, so there is nothing to contradict it
    if int(header["qform_code"]) > 0:
        try:
            other = header.get_qform()
        except (ValueError, nib.spatialimages.HeaderDataError):
            return "the qform of its header is no rotation; the sform was used"
        shift = corner_shift(other, affine, shape)
        if not shift <= DISAGREEMENT:
            return f"qform and sform of its header lie up to {shift:.3g} voxels apart; the sform was used"
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    written = np.abs(np.asarray(header["pixdim"][1:4], dtype=float))
    extent = np.array([*shape, 1, 1, 1][:3]) - 1
    if not (np.abs(written - sizes) * extent <= DISAGREEMENT * sizes).all():
        listed = " x ".join(f"{size:.4g}" for size in written)
        used = " x ".join(f"{size:.4g}" for size in sizes)
        return f"pixdim of its header says voxels of {listed}, the sform {used} mm; the sform was used"
    return None


def image_like(array: np.ndarray, packed: Any) -> nib.Nifti1Image:
    """An image of voxels on the grid of a header: shape, forms, codes, pixdim and units bit for bit.

    Args:
        array: (X, Y, Z), which gets the axes of one voxel that the header has too, or (X, Y, Z, channels).
        packed: as of ``pack``; its first three sizes are those of the array.
    """
    given = unpack(packed)
    shape = file_shape(given)
    if array.ndim == 3 and int(np.prod(shape[3:])) == 1:
        array = array.reshape(shape)
    kind = next(k for k in CLASSES if k.header_class is type(given))
    header = kind.header_class()
    header.set_data_dtype(array.dtype)
    image = kind(array, None, header)  # no affine: nibabel would write the forms anew
    for field in _GEOMETRY:
        image.header[field] = given[field]
    return image
