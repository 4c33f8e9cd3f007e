"""What feeds the engines: the data set on the device, its batches, and the record of changed labels."""

from monai_ext.data.batch_loader import BatchLoader, image_and_tags, labels_with_supervision
from monai_ext.data.device_cache import DeviceCache
from monai_ext.data.label_journal import LabelJournal

__all__ = ["BatchLoader", "DeviceCache", "LabelJournal", "image_and_tags", "labels_with_supervision"]
