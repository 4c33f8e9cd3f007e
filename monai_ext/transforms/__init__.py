"""Transforms: weak and corrected labels, labels on another grid, batched augmentation on the device."""

from monai_ext.transforms.batch_augmentation import BatchAugmentation
from monai_ext.transforms.branches import SplitBranchesd
from monai_ext.transforms.label_correction import CorrectLabels
from monai_ext.transforms.label_resize import ResizeLabelSlicesd
from monai_ext.transforms.original_space import ClassesInOriginalSpaced

__all__ = [
    "BatchAugmentation",
    "ClassesInOriginalSpaced",
    "CorrectLabels",
    "ResizeLabelSlicesd",
    "SplitBranchesd",
]
