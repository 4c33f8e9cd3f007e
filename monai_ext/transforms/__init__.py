"""Transforms: weak and corrected labels, labels on another grid, batched augmentation on the device."""

from monai_ext.transforms.batch_augmentation import BatchAugmentation
from monai_ext.transforms.branches import ClassProbabilityd, SplitBranchesd
from monai_ext.transforms.cam_to_mask import FuseModalityMapsd, MapToPseudoLabeld, MaskInOriginalSpaced
from monai_ext.transforms.case_names import NameByCased
from monai_ext.transforms.class_probabilities import ProbabilitiesInOriginalSpaced
from monai_ext.transforms.intensity import ScalePercentilesd
from monai_ext.transforms.label_correction import CorrectLabels
from monai_ext.transforms.label_resize import ResizeLabelSlicesd
from monai_ext.transforms.modalities import ArrangeModalitiesd, ScaleForegroundIntensityd
from monai_ext.transforms.original_space import ClassesInOriginalSpaced
from monai_ext.transforms.random_walk import RandomWalkd
from monai_ext.transforms.spatial_views import RandomSpatialView, SpatialView

__all__ = [
    "ArrangeModalitiesd",
    "BatchAugmentation",
    "ClassProbabilityd",
    "ClassesInOriginalSpaced",
    "CorrectLabels",
    "FuseModalityMapsd",
    "MapToPseudoLabeld",
    "MaskInOriginalSpaced",
    "NameByCased",
    "ProbabilitiesInOriginalSpaced",
    "RandomSpatialView",
    "RandomWalkd",
    "ResizeLabelSlicesd",
    "ScaleForegroundIntensityd",
    "ScalePercentilesd",
    "SpatialView",
    "SplitBranchesd",
]
