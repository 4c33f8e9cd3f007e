"""What feeds the engines: datalists, checks of input files, caches, samplers and phantoms."""

from monai_ext.data.batch_loader import BatchLoader, image_and_tags, labels_with_supervision
from monai_ext.data.checks import DataError, check_datalist, check_items, require_valid
from monai_ext.data.datalist import items, read_datalist, write_datalist
from monai_ext.data.device_cache import DeviceCache
from monai_ext.data.label_journal import LabelJournal

__all__ = [
    "BatchLoader",
    "DataError",
    "DeviceCache",
    "LabelJournal",
    "check_datalist",
    "check_items",
    "image_and_tags",
    "items",
    "labels_with_supervision",
    "read_datalist",
    "require_valid",
    "write_datalist",
]
