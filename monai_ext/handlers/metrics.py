"""MONAI's metrics as the bundles' evaluators use them."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from ignite.metrics import Accuracy
from monai.handlers import IgniteMetricHandler, from_engine
from monai.metrics import DiceMetric
from torch import Tensor

from monai_ext.cams import by_modality, modality_weights, pool_scores
from monai_ext.keys import LABEL, PRED, UNLABELED


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


def tag_accuracy(pool_share: float, weights: Sequence[float] | None = None) -> Accuracy:
    """Share of slices whose tag is found by the mean probability of the modalities.

    Args:
        pool_share: as in the loss.
        weights: of the modalities in that mean, M numbers >= 0; None: equal.

    Returns:
        Ignite's metric, for ``key_val_metric`` of an evaluator whose output has score maps (M K, h, w, D)
        under ``pred`` and tags (1, D) under ``label``; slices with the tag 255 do not count.
    """
    return Accuracy(output_transform=partial(tags_of_slices, pool_share=pool_share, weights=weights))


def tags_of_slices(
    output: Sequence[Mapping[str, Tensor]], pool_share: float, weights: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """Predicted and true tags (N,) of all slices of some volumes."""
    pairs = []
    for item in output:
        maps = by_modality(torch.as_tensor(item[PRED]).movedim(-1, 0))
        probs = pool_scores(maps, pool_share).softmax(dim=2)[:, :, 1]
        shares = modality_weights(weights, probs.shape[1]).to(probs)
        found = (probs @ shares / shares.sum() > 0.5).long()
        tags = torch.as_tensor(item[LABEL])[0].to(probs.device)
        known = tags != UNLABELED
        pairs.append((found[known], tags.long()[known]))
    all_found, all_true = zip(*pairs, strict=True)
    return torch.cat(all_found), torch.cat(all_true)
