"""MONAI's metrics as the bundles' evaluators use them."""

from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import DiceMetric

from monai_ext.keys import LABEL


def mean_dice(pred: str, num_classes: int) -> IgniteMetricHandler:
    """Mean Dice of the foreground classes over whole volumes of class indices.

    A class that a volume does not have counts 1 if it is not predicted and 0 if it is, where MONAI's
    ``MeanDice`` leaves both out and so overlooks false objects.

    Args:
        pred: key of the prediction (1, *S) in the evaluator's output; the truth is under ``label``.
        num_classes: K, background included.

    Returns:
        MONAI's handler, for ``key_val_metric`` or ``additional_metrics`` of an evaluator.
    """
    dice = DiceMetric(include_background=False, num_classes=num_classes, ignore_empty=False)
    return IgniteMetricHandler(metric_fn=dice, output_transform=from_engine([pred, LABEL]))
