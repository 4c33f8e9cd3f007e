"""Pictures of what a bundle does: image, labels and predictions side by side."""

from monai_ext.report.cases import CORRECTED_LABELS
from monai_ext.report.predictor import Predictor
from monai_ext.report.sheet import write_sheet

__all__ = ["CORRECTED_LABELS", "Predictor", "write_sheet"]
