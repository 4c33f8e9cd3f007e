"""Inferers: how an image, or a volume, is given to a network."""

from monai_ext.inferers.autocast import AutocastInferer
from monai_ext.inferers.gradient_maps import GradientMapInferer
from monai_ext.inferers.multi_scale import AveragingInferer, MultiScaleInferer
from monai_ext.inferers.slices import SliceBatchInferer
from monai_ext.inferers.two_views import TwoViewInferer, TwoViews

__all__ = [
    "AutocastInferer",
    "AveragingInferer",
    "GradientMapInferer",
    "MultiScaleInferer",
    "SliceBatchInferer",
    "TwoViewInferer",
    "TwoViews",
]
