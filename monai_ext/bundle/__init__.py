"""What a config calls as ``bundle.NAME``: see that a bundle can run here, on this data."""

from monai_ext.bundle.checks import check_settings, set_seed
from monai_ext.bundle.data import items_to_score, map_keys, read_items, read_labels, read_unit, require_data
from monai_ext.bundle.distributed import local_device, start_distributed
from monai_ext.bundle.folders import require_folders
from monai_ext.bundle.hook import install
from monai_ext.bundle.inference import segment
from monai_ext.bundle.inputs import find_cases, find_images
from monai_ext.bundle.packages import ignore_warnings_inside_monai, require_packages
from monai_ext.bundle.weights import require_weights
from monai_ext.images.inputs import warn_of_missing

install()

__all__ = [
    "check_settings",
    "find_cases",
    "find_images",
    "ignore_warnings_inside_monai",
    "items_to_score",
    "local_device",
    "map_keys",
    "read_items",
    "read_labels",
    "read_unit",
    "require_data",
    "require_folders",
    "require_packages",
    "require_weights",
    "segment",
    "set_seed",
    "start_distributed",
    "warn_of_missing",
]
