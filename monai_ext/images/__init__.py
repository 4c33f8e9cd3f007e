"""The one door for images: files, grids, modalities, inputs of inference, loading and saving."""

from monai_ext.images.files import read_volume
from monai_ext.images.grids import Grid, Volume
from monai_ext.images.reader import GridReader
from monai_ext.images.transforms import OrientSlicesd
from monai_ext.images.writer import GridWriter, name_of_result, write_label, write_volume

__all__ = [
    "Grid",
    "GridReader",
    "GridWriter",
    "OrientSlicesd",
    "Volume",
    "name_of_result",
    "read_volume",
    "write_label",
    "write_volume",
]
