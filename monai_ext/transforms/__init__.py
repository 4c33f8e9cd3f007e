"""Transforms: weak labels, labels on another grid, batched augmentation on the device."""

from monai_ext.transforms.batch_augmentation import BatchAugmentation
from monai_ext.transforms.branches import SplitBranchesd
from monai_ext.transforms.label_resize import ResizeLabelSlicesd

__all__ = ["BatchAugmentation", "ResizeLabelSlicesd", "SplitBranchesd"]
