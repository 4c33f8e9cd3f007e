"""Losses that read the labels people really have: a few voxels, noisy masks, or none."""

from monai_ext.losses.co_teaching import CoTeachingLoss
from monai_ext.losses.cross_modality_equivariance import CrossModalityEquivarianceLoss
from monai_ext.losses.divergence import KLDivergenceLoss, ShannonEntropyLoss
from monai_ext.losses.generalized_cross_entropy import GeneralizedCrossEntropyLoss
from monai_ext.losses.mixed_pseudo_labels import MixedPseudoLabelLoss
from monai_ext.losses.mixed_supervision import MixedSupervisionLoss
from monai_ext.losses.multi_scale_consistency import MultiScaleConsistencyLoss
from monai_ext.losses.partial_dice import PartialDiceCELoss
from monai_ext.losses.partial_labels import PartialCrossEntropyLoss

__all__ = [
    "CoTeachingLoss",
    "CrossModalityEquivarianceLoss",
    "GeneralizedCrossEntropyLoss",
    "KLDivergenceLoss",
    "MixedPseudoLabelLoss",
    "MixedSupervisionLoss",
    "MultiScaleConsistencyLoss",
    "PartialCrossEntropyLoss",
    "PartialDiceCELoss",
    "ShannonEntropyLoss",
]
