"""Scores of whole volumes, case by case, and the summary that every bundle writes in the same form."""

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.metrics import compute_dice, compute_hausdorff_distance
from monai.networks.utils import one_hot
from torch import Tensor

from monai_ext.handlers.progress_bar import BarFromZero
from monai_ext.keys import CASE, LABEL, PRED

logger = logging.getLogger(__name__)

METRICS = ("dice", "hd95")


def score_volume(
    pred: Tensor, label: Tensor, num_classes: int, spacing: Sequence[float]
) -> list[dict[str, float]]:
    """Dice and 95th-percentile Hausdorff distance of the classes of one volume, by MONAI's metrics.

    Args:
        pred: class indices (1, *S).
        label: class indices (1, *S).
        num_classes: K, background included.
        spacing: distance between voxels along each axis.

    Returns:
        One ``{"dice", "hd95"}`` a class; the distance is in the unit of ``spacing``. A class that is in
        neither volume scores NaN for both. A class that is in only one of them scores a Dice of 0 and,
        since no distance is defined, the length of the volume's diagonal.
    """
    found, true = (one_hot(volume[None].long(), num_classes)[:, 1:] for volume in (pred, label))
    dice = compute_dice(found, true, ignore_empty=False)[0]
    present = torch.stack([onehot[0].flatten(1).any(dim=1) for onehot in (found, true)])
    diagonal = math.dist([0.0] * len(spacing), [n * s for n, s in zip(pred.shape[1:], spacing, strict=True)])
    scores = []
    for k in range(num_classes - 1):
        if not present[:, k].any():
            scores.append(dict.fromkeys(METRICS, math.nan))
        elif not present[:, k].all():
            scores.append({"dice": 0.0, "hd95": diagonal})
        else:
            distance = compute_hausdorff_distance(
                found[:, k : k + 1],
                true[:, k : k + 1],
                include_background=True,
                percentile=95,
                spacing=[float(s) for s in spacing],
            )
            scores.append({"dice": float(dice[k]), "hd95": float(distance)})
    return scores


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are defined, neither None nor NaN; None if there is none."""
    defined = [v for v in values if v is not None and not math.isnan(v)]
    return float(np.mean(defined)) if defined else None


def summarize(cases: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Mean of every class over cases, and the mean of the classes.

    Args:
        cases: one mapping a case, with ``"classes": {name: {"dice", "hd95"}}``.
        class_names: names of the foreground classes.

    Returns:
        ``{"mean": {"dice", "hd95"}, "classes": {name: {"dice", "hd95"}}}``; None where nothing is defined.
    """
    classes = {
        name: {m: mean_of([case["classes"][name][m] for case in cases]) for m in METRICS}
        for name in class_names
    }
    mean = {m: mean_of([scores[m] for scores in classes.values()]) for m in METRICS}
    return {"mean": mean, "classes": classes}


class EvaluationSummary:
    """Score every volume of an evaluation and write ``summary.json`` and ``cases.csv``; show a progress bar.

    The JSON is ``{"unit", "mean": {"dice", "hd95"}, "classes": {name: {...}}, "cases": [...]}``, with the
    same three entries for every further prediction under its name. Undefined values are null.

    Event: ITERATION_COMPLETED, COMPLETED, and those of ``BarFromZero``. Reads: ``engine.state.batch`` (names
    of the cases) and ``engine.state.output``, both decollated. Writes: ``summary.json`` and ``cases.csv`` in
    ``output_dir``. State: none.

    Args:
        output_dir: folder of the two files.
        labels: names of the classes by index, background included, as in the datalist.
        unit: "mm", distances by the label's own spacing, or "voxel", where the spacing is unknown.
        also: further keys of ``engine.state.output`` to score, beside ``pred``.

    Raises:
        ValueError: for another unit.
    """

    def __init__(
        self, output_dir: str, labels: Mapping[str, str], unit: str = "mm", also: Sequence[str] = ()
    ) -> None:
        if unit not in ("mm", "voxel"):
            raise ValueError(f"Expected unit 'mm' or 'voxel', got {unit!r}.")
        self.output_dir = Path(output_dir)
        self.class_names = [
            name for index, name in sorted(labels.items(), key=lambda x: int(x[0])) if int(index)
        ]
        self.unit = unit
        self.keys = (PRED, *also)
        self.cases: dict[str, list[dict[str, Any]]] = {key: [] for key in self.keys}

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        engine.add_event_handler(Events.COMPLETED, self.write)
        BarFromZero("evaluating").attach(engine)

    def score(self, engine: Engine) -> None:
        """Score the volumes of this iteration."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for given, item in zip(batch, output, strict=True):
            label = item[LABEL]
            spacing = label.pixdim.tolist() if self.unit == "mm" else [1.0] * (label.ndim - 1)
            for key in self.keys:
                scores = score_volume(item[key], label, len(self.class_names) + 1, spacing)
                self.cases[key].append(
                    {"case": str(given[CASE]), "classes": dict(zip(self.class_names, scores, strict=True))}
                )

    def write(self, engine: Engine) -> None:
        """Write the two files."""
        summary: dict[str, Any] = {"unit": self.unit}
        for key in self.keys:
            part = {**summarize(self.cases[key], self.class_names), "cases": self.cases[key]}
            summary.update(part if key == PRED else {key: part})
        self.output_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(without_nan(summary), indent=2, allow_nan=False)
        (self.output_dir / "summary.json").write_text(text + "\n", encoding="utf-8")
        with (self.output_dir / "cases.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["case", "prediction", "class", "dice", f"hd95_{self.unit}"])
            for key in self.keys:
                for case in self.cases[key]:
                    for name, scores in case["classes"].items():
                        writer.writerow([case["case"], key, name, *(scores[m] for m in METRICS)])
        mean = {name: math.nan if value is None else value for name, value in summary["mean"].items()}
        logger.info(
            f"{len(self.cases[PRED])} cases: mean Dice {mean['dice']:.4f}, HD95 {mean['hd95']:.2f} "
            f"{self.unit}; written to {self.output_dir / 'summary.json'}"
        )
        self.cases = {key: [] for key in self.keys}


def without_nan(content: Any) -> Any:
    """Copy of nested dictionaries and lists with None for every NaN, which JSON does not have."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
