"""Inferers: how an image, or a volume, is given to a network."""

from monai_ext.inferers.autocast import AutocastInferer
from monai_ext.inferers.multi_scale import AveragingInferer, MultiScaleInferer
from monai_ext.inferers.slices import SliceBatchInferer

__all__ = ["AutocastInferer", "AveragingInferer", "MultiScaleInferer", "SliceBatchInferer"]
