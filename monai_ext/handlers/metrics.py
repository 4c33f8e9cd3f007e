"""MONAI's metrics as the bundles' evaluators use them."""

from monai.handlers import MeanDice, from_engine

from monai_ext.keys import LABEL


def mean_dice(pred: str, num_classes: int) -> MeanDice:
    """Mean Dice of the foreground classes over whole volumes of class indices.

    Args:
        pred: key of the prediction (1, *S) in the evaluator's output; the truth is under ``label``.
        num_classes: K, background included.

    Returns:
        MONAI's handler, for ``key_val_metric`` or ``additional_metrics`` of an evaluator.
    """
    return MeanDice(
        include_background=False, num_classes=num_classes, output_transform=from_engine([pred, LABEL])
    )
