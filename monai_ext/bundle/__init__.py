"""What a config calls as ``bundle.NAME``: see that a bundle can run here, on this data."""

from monai_ext.bundle.start import (
    ignore_warnings_inside_monai,
    items_to_score,
    local_device,
    map_keys,
    prepare_inference,
    prepare_training,
    read_items,
    read_labels,
    read_unit,
    require_packages,
    start_distributed,
    stop_if_invalid,
)
from monai_ext.images.inputs import (
    find_cases,
    find_images,
    stop_if_incomplete,
    stop_if_unreadable,
    warn_of_missing,
)

__all__ = [
    "find_cases",
    "find_images",
    "ignore_warnings_inside_monai",
    "items_to_score",
    "local_device",
    "map_keys",
    "prepare_inference",
    "prepare_training",
    "read_items",
    "read_labels",
    "read_unit",
    "require_packages",
    "start_distributed",
    "stop_if_incomplete",
    "stop_if_invalid",
    "stop_if_unreadable",
    "warn_of_missing",
]
