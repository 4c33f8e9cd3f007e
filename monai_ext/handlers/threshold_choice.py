"""At which threshold maps become the best masks, and what that choice is worth on a patient not chosen by."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.metrics import compute_dice
from torch import Tensor

from monai_ext.cams import Component, keep_component, peak_of
from monai_ext.handlers.evaluation import score_volume, summarize, without_nan
from monai_ext.keys import CAM_PREFIX, CASE, LABEL, MAP_SUFFIX, PATIENT, PRED

matplotlib.use("Agg")
import matplotlib.pyplot as plt

logger = logging.getLogger(__name__)

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
REGION = "region"
"""What the object is called where its name is not given."""


class ThresholdChoice:
    """Dice of the masks at every threshold, the best one, and the scores of patients left out of the choice.

    For each patient the threshold is chosen that is best for the mean Dice of all others, and the patient is
    scored with it: an estimate for patients on whom nothing was chosen. Writes ``thresholds.json`` and a
    picture of the curves, ``thresholds.png``.

    Event: ITERATION_COMPLETED, COMPLETED. Reads: ``engine.state.batch`` (names of cases and patients) and
    ``engine.state.output``, both decollated. Writes: the two files. State: none.

    Args:
        output_dir: folder of the two files.
        unit: "mm" or "voxel", see ``EvaluationSummary``.
        keys: predictions whose maps are looked at; the map of ``pred`` is ``pred_map``.
        component: as in the postprocessing, see ``monai_ext.cams.keep_component``.
        labels: names of the classes by index, as in the datalist; the object is class 1.
    """

    def __init__(
        self,
        output_dir: str,
        unit: str = "mm",
        keys: Sequence[str] = (PRED,),
        component: Component = "highest",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.unit = unit
        self.keys = tuple(keys)
        self.component = component
        self.region = (labels or {}).get("1", REGION)
        self.cases: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator, if there are maps to look at."""
        if not self.keys:
            return
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def collect(self, engine: Engine) -> None:
        """Keep the maps of this iteration's volumes, one byte a voxel, and their Dice at every threshold."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for given, item in zip(batch, output, strict=True):
            label = torch.as_tensor(item[LABEL]).cpu()
            spacing = item[LABEL].pixdim.tolist() if self.unit == "mm" else [1.0] * (label.ndim - 1)
            maps = {key: torch.as_tensor(item[key + MAP_SUFFIX]).cpu() for key in self.keys}
            levels = {key: (levels_of(cam), peak_of(cam)) for key, cam in maps.items()}
            dice = {key: [dice_of(m, label) for m in self.masks(*level)] for key, level in levels.items()}
            case, patient = str(given[CASE]), str(given[PATIENT])
            about = {"case": case, "patient": patient, "spacing": spacing, "label": label.to(torch.uint8)}
            self.cases.append({**about, "levels": levels, "dice": dice})

    def masks(self, levels: Tensor, peak: int) -> list[Tensor]:
        """Masks (1, *S) at every threshold."""
        return [self.mask(levels, peak, step) for step in range(len(THRESHOLDS))]

    def mask(self, levels: Tensor, peak: int, step: int) -> Tensor:
        """Mask (1, *S) at one threshold."""
        return keep_component((levels > step).to(torch.uint8), self.component, peak)

    def write(self, engine: Engine) -> None:
        """Write the two files."""
        content: dict[str, Any] = {"unit": self.unit, "thresholds": THRESHOLDS}
        for key in self.keys:
            dice = np.array([case["dice"][key] for case in self.cases])
            best = int(np.nanmean(dice, axis=0).argmax())
            content[key] = {
                "best": THRESHOLDS[best],
                "dice": np.nanmean(dice, axis=0).tolist(),
                "left_out": self.left_out(key, dice),
            }
        self.output_dir.mkdir(parents=True, exist_ok=True)
        text = json.dumps(without_nan(content), indent=1, allow_nan=False)
        (self.output_dir / "thresholds.json").write_text(text + "\n", encoding="utf-8")
        self.draw(content)
        for key in self.keys:
            found = content[key]
            left_out = found["left_out"]["mean"]["dice"]
            logger.info(
                f"{key}: best threshold {found['best']}, mean Dice {max(found['dice']):.4f}; patients left "
                f"out of the choice: {math.nan if left_out is None else left_out:.4f}"
            )
        self.cases = []

    def left_out(self, key: str, dice: np.ndarray) -> dict[str, Any]:
        """Scores of every case at the threshold that is best for the other patients."""
        scored = []
        for case in self.cases:
            others = np.array([other["patient"] != case["patient"] for other in self.cases])
            chosen = dice[others] if others.any() else dice
            step = int(np.nanmean(chosen, axis=0).argmax())
            levels, peak = case["levels"][key]
            mask = self.mask(levels, peak, step)
            [scores] = score_volume(mask, case["label"], 2, case["spacing"])
            scored.append(
                {"case": case["case"], "threshold": THRESHOLDS[step], "classes": {self.region: scores}}
            )
        return {**summarize(scored, [self.region]), "cases": scored}

    def draw(self, content: Mapping[str, Any]) -> None:
        """Draw mean Dice over threshold, one curve a map, and the best threshold of the first."""
        figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
        for key in self.keys:
            axis.plot(THRESHOLDS, content[key]["dice"], marker="o", markersize=3, label=self.name_of(key))
        best, name = content[self.keys[0]]["best"], self.name_of(self.keys[0])
        axis.axvline(best, color="C0", linestyle="--", linewidth=1, label=f"best for the {name}: {best:g}")
        axis.set(xlabel="threshold of the map", ylabel=f"mean Dice of {len(self.cases)} cases", ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend()
        figure.savefig(self.output_dir / "thresholds.png", dpi=110)
        plt.close(figure)

    def name_of(self, key: str) -> str:
        """What a curve is called."""
        if key == PRED:
            return "fused map" if len(self.keys) > 1 else "map"
        return f"{key.removeprefix(CAM_PREFIX)} alone"


def levels_of(cam: Tensor) -> Tensor:
    """How many thresholds each voxel of a map reaches, as bytes."""
    thresholds = torch.tensor(THRESHOLDS, dtype=cam.dtype)
    return torch.bucketize(cam.contiguous(), thresholds, right=True).to(torch.uint8)


def dice_of(mask: Tensor, label: Tensor) -> float:
    """Dice of two masks (1, *S); two empty ones have 1, an empty one and another 0."""
    if not mask.any() or not label.any():
        return float(mask.any() == label.any())
    return float(compute_dice(mask[None], label[None], include_background=True))
