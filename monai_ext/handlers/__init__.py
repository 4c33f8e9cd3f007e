"""Ignite handlers: what happens around and between the iterations."""

from monai_ext.handlers.checkpoints import Checkpoints
from monai_ext.handlers.evaluation import EvaluationSummary
from monai_ext.handlers.label_correction import LabelCorrection
from monai_ext.handlers.label_review import LabelReview
from monai_ext.handlers.memorization import MemorizationDetector
from monai_ext.handlers.metrics import mean_dice, tag_accuracy
from monai_ext.handlers.overlays import OverlayPictures
from monai_ext.handlers.progress import InferenceSummary
from monai_ext.handlers.schedules import PolynomialDecay, RampUp
from monai_ext.handlers.seeding import EpochSeed
from monai_ext.handlers.standard import StandardTraining
from monai_ext.handlers.threshold_choice import ThresholdChoice

__all__ = [
    "Checkpoints",
    "EpochSeed",
    "EvaluationSummary",
    "InferenceSummary",
    "LabelCorrection",
    "LabelReview",
    "MemorizationDetector",
    "OverlayPictures",
    "PolynomialDecay",
    "RampUp",
    "StandardTraining",
    "ThresholdChoice",
    "mean_dice",
    "tag_accuracy",
]
