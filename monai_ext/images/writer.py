"""The one way out: voxels as a NIfTI file on the grid of the image they belong to, whole or not at all."""

import errno
import gzip
import logging
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import ImageWriter

from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.images.grids import Volume
from monai_ext.images.nifti import affine_of, file_shape, header_for, image_like, unpack
from monai_ext.images.reader import HEADER
from monai_ext.images.search import stem

logger = logging.getLogger(__name__)

ROUNDING = 1e-6
"""Differences of affines below this share of their largest number come of float32."""
ADVICE = {
    errno.EISDIR: "rename the folder of this name, or choose another folder for the results",
    errno.ENAMETOOLONG: "shorten the name of the image",
    errno.EEXIST: "choose another folder, for there is a file in place of this one",
    errno.ENOTDIR: "choose another folder, for there is a file in place of this one",
    errno.EACCES: "change the permissions there, or choose another folder",
    errno.EPERM: "change the permissions there, or choose another folder",
    errno.EROFS: "choose another folder",
}
"""What to do when a file cannot be written, where it is not that space is lacking."""


def write_volume(path: str | Path, array: np.ndarray, header: np.ndarray) -> None:
    """Write voxels as NIfTI, atomically: a name that is there holds a whole file.

    Args:
        path: where to; ``.nii``, or ``.nii.gz`` for a compressed file. The folder is made.
        array: (X, Y, Z) or (X, Y, Z, channels).
        header: ``Volume.header`` of the image on whose grid the voxels lie.

    Raises:
        InputError: if the file cannot be written; what was there before is still there.
    """
    path = Path(path)
    content = image_like(np.asarray(array), header).to_bytes()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, compresslevel=1, mtime=0)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.partial")  # short, whatever the name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except OSError as error:
        raise InputError(
            f"{path}: Expected to write {len(content)} bytes, got {error.strerror or error}; "
            f"{ADVICE.get(error.errno or 0, 'free space there, or choose another folder')}."
        ) from error
    finally:
        with suppress(OSError):  # also where there is no such folder
            unfinished.unlink()


def write_label(path: Path, label: np.ndarray, image: Volume | Path) -> None:
    """Write a label map as uint8 NIfTI on the grid of an image, see ``write_volume``.

    Args:
        path: where to; ``.nii`` or ``.nii.gz``.
        label: (X, Y, Z), values in 0..255.
        image: the image on whose grid the label lies, or its file.
    """
    standard = image if isinstance(image, Volume) else read_volume(image)
    header = standard.header
    if header is None:
        header = header_for(standard.affine, standard.array.shape[:3])
    write_volume(path, np.asarray(label).astype(np.uint8), header)


def name_of_result(meta: Mapping[str, Any] | None, saver: Any) -> dict[str, Any]:
    """Name for MONAI's ``SaveImage``: that of the image without its suffix, whatever the format.

    MONAI's own way leaves a part of suffixes in capitals, and cuts a folder's name at a dot.
    """
    file = (meta or {}).get("filename_or_obj")
    if not file:
        return {"subject": str(saver._data_index), "idx": None}
    return {"subject": str(Path(str(file)).with_name(f"{stem(Path(str(file)))}.nii.gz")), "idx": None}


class GridWriter(ImageWriter):
    """MONAI's ``SaveImage(writer=...)``: write on the file's own grid, as ``GridReader`` left it in the meta.

    Shape (axes of one voxel included), both forms, both codes, pixdim and units are those of the image file.
    An array that lies elsewhere, by its shape or the affine of its meta, is written by its affine alone.

    Args:
        output_dtype: data type of the file.
        scale: of MONAI's interface; only None.
    """

    def __init__(self, output_dtype: Any = np.float32, scale: None = None, **kwargs: Any) -> None:
        if isinstance(output_dtype, torch.dtype):
            output_dtype = torch.empty(0, dtype=output_dtype).numpy().dtype
        super().__init__(**kwargs)
        self.output_dtype = np.dtype(output_dtype)
        if scale is not None:
            raise ValueError(f"Expected scale None, got {scale}; scale the voxels before.")

    def set_data_array(self, data_array: Any, channel_dim: int | None = 0, **kwargs: Any) -> None:
        """Take voxels; channels go last, and a single one goes."""
        array = data_array.detach().cpu().numpy() if isinstance(data_array, torch.Tensor) else data_array
        array = np.asarray(array)
        if channel_dim is not None:
            array = np.moveaxis(array, channel_dim, -1)
            array = array[..., 0] if array.shape[-1] == 1 else array
        self.data_obj = array.astype(self.output_dtype)

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, **options: Any) -> None:
        """Take the grid of an item's meta."""
        meta, shape = meta_dict or {}, self.data_obj.shape[:3]
        header, affine = meta.get(HEADER), meta.get("affine")
        if header is None or not _lies_there(header, shape, affine):
            header = header_for(np.asarray(np.eye(4) if affine is None else affine, dtype=float), shape)
        self.header = np.asarray(header)

    def write(self, filename: Any, verbose: bool = False, **kwargs: Any) -> None:
        """Write the file, or raise an ``InputError``."""
        write_volume(filename, np.asarray(self.data_obj), self.header)
        if verbose:
            logger.info(f"wrote {filename}")


def _lies_there(header: Any, shape: tuple[int, ...], affine: Any) -> bool:
    """Whether a header has this shape and, within the rounding of float32, this affine (None: not said)."""
    if (*file_shape(unpack(header)), 1, 1, 1)[:3] != shape:
        return False
    if affine is None:
        return True
    own = affine_of(header)
    return np.allclose(np.asarray(affine, dtype=float), own, rtol=0, atol=ROUNDING * np.abs(own).max())
