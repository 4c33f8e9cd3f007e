"""What an image is called by the transforms that save what was made of it."""

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from monai_ext.keys import CASE

FILE_NAME = "filename_or_obj"
"""Key of the meta by which MONAI's ``SaveImaged`` names a file."""


class NameByCased(MapTransform):
    """Give images the name of their case as their file name, folders included, for ``SaveImaged``.

    With ``data_root_dir: .``, what is saved of the case ``p1/scan`` lies in the folder ``p1``. Without a
    ``case`` nothing happens. Not random, not invertible; voxels are kept.

    Args:
        keys: keys of images.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            if CASE in result and isinstance(result[key], MetaTensor):
                result[key].meta[FILE_NAME] = f"{result[CASE]}.nii.gz"
        return result
