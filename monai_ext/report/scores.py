"""The numbers of a sheet: Dice and HD95 of every class in every column."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from monai_ext.drawing import MAP, MARKS
from monai_ext.handlers.evaluation import mean_of, score_volume, summarize
from monai_ext.report.cases import CORRECTED, NOISY, Shown

UNSCORED = ("image", "truth", MAP, MARKS)
"""Columns without scores: no masks, or none of every voxel."""
CAPTION = (
    "Means over the cases above: labels over training cases, predictions over the others.\n"
    "HD95: 95th percentile of the distances from each point of one surface to the other surface, "
    "in both directions; the larger counts.\n"
    "A class that only one of mask and truth has: Dice 0, HD95 the diagonal of the image. "
    "A class that neither has does not count."
)

Scores = dict[str, dict[str, dict[str, float]]]
"""Dice and HD95 of a case: ``[title of the column][name of the class]["dice" or "hd95"]``."""


def scores_of(case: Shown, labels: Mapping[str, str], unit: str) -> Scores:
    """Scores of every mask of a case but the truth.

    Args:
        case: the case; its masks have class numbers, or 255, which counts as background here.
        labels: names of the classes by index, background included.
        unit: "mm" or "voxel".
    """
    spacing = case.spacing if unit == "mm" else (1.0,) * len(case.spacing)
    names = class_names(labels)
    truth = as_label(case.volumes["truth"], len(names) + 1)
    found: Scores = {}
    for title, volume in case.volumes.items():
        if title not in UNSCORED and volume is not None:
            scores = score_volume(as_label(volume, len(names) + 1), truth, len(names) + 1, spacing)
            found[title] = dict(zip(names, scores, strict=True))
    return found


def class_names(labels: Mapping[str, str]) -> list[str]:
    """Names of the foreground classes in their order."""
    return [labels[k] for k in sorted(labels, key=int) if int(k)]


def as_label(volume: np.ndarray, num_classes: int) -> torch.Tensor:
    """A mask (*S) as (1, *S), background where its value is no class."""
    label = torch.as_tensor(np.array(volume)).long()[None]
    return label.masked_fill((label < 0) | (label >= num_classes), 0)


def mean_dice(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Mean Dice of the classes of one mask that are there; NaN if none is."""
    mean = mean_of([score["dice"] for score in scores.values()])
    return math.nan if mean is None else mean


def table_of(
    cases: Sequence[tuple[Shown, Scores]], labels: Mapping[str, str], unit: str
) -> tuple[list[str], list[list[str]]]:
    """Means over the cases shown: a row a class, one for their mean, two cells a column of the sheet.

    Labels are scored on the training cases, predictions on the others, or on the training cases where there
    are no others.

    Returns:
        Heading and rows.
    """
    unseen = [pair for pair in cases if pair[0].section != "training"] or list(cases)
    titles = list(dict.fromkeys(title for _, scores in cases for title in scores))
    names = class_names(labels)
    heading, columns = ["class"], []
    for title in titles:
        pool = cases if title in (NOISY, CORRECTED) else unseen
        rows: list[Any] = [{"classes": scores[title]} for _, scores in pool if title in scores]
        summary = summarize(rows, names)
        parts = [*(summary["classes"][name] for name in names), summary["mean"]]
        columns += [
            [number(p["dice"], 2) for p in parts],
            [number(p["hd95"], 1) for p in parts],
        ]
        heading += [f"{title}\nDice", f"{title}\nHD95, {unit}"]
    table = [list(row) for row in zip([*names, "mean"], *columns, strict=True)]
    return heading, table if len(names) > 1 else table[:1]


def number(value: float | None, digits: int) -> str:
    """A number as the table shows it; a dash where it is not defined."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"
