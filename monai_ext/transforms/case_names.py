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
            result[key] = named_by_case(result[key], result)
        return result


def named_by_case(image: Any, item: Mapping[Hashable, Any]) -> Any:
    """The image itself, with the name of the item's case, if both are there."""
    if CASE in item and isinstance(image, MetaTensor):
        image.meta[FILE_NAME] = f"{item[CASE]}.nii.gz"
    return image
