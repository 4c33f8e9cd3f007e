"""When a network begins to memorize the noise of a class, told from how well it fits the labels."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

MIN_POINTS = 4
"""Points without which a curve of three parameters is not fitted."""
NOT_LEARNED = 0.05
"""IoU below which a class counts as not learned yet."""


@dataclass(frozen=True)
class LearningCurve:
    r"""The training IoU of a class as a function of the epoch.

    .. math::

        f(t) = a \big(1 - \exp(-t^b / c)\big), \qquad
        f'(t) = \frac{a b}{c} \exp(-t^b / c)\, t^{b-1}, \qquad
        \rho(t) = \frac{|f'(t) - f'(1)|}{|f'(1)|}

    with t counted from the end of an initial plateau of ``offset`` epochs.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.
    """

    a: float
    b: float
    c: float
    offset: int = 0

    def value(self, epoch: float) -> float:
        """:math:`f` at an epoch of the training."""
        t = epoch - self.offset
        return self.a * -math.expm1(-(t**self.b) / self.c) if t > 0 else 0.0

    def relative_change(self, epoch: float) -> float:
        r""":math:`\rho`: how much of its initial slope the curve has lost; it only grows, since b <= 1."""
        t = max(epoch - self.offset, 1.0)
        kept = math.exp((1 - t**self.b) / self.c) * t ** (self.b - 1)
        return 1 - kept


def fit_learning_curve(iou: Sequence[float]) -> LearningCurve | None:
    """Fit the curve to the IoU of epochs 1, 2, ... by bounded least squares.

    Later points count more (standard deviations from 1 down to 0.1, in geometric progression). Leading
    points below 0.05, or below a tenth of the highest, are the initial plateau and not fitted.

    Returns:
        The curve; None if fewer than four points are left, or nothing was found.

    Differs from the source: epochs are 1, 2, ..., n, where the published code fits a grid from 0 to n; the
    published plateau rule drops points until an increment reaches 0.1, which a slow curve never does.
    """
    values = np.asarray(iou, dtype=float)
    learned = np.flatnonzero(values >= max(NOT_LEARNED, 0.1 * values.max(initial=0.0)))
    if not len(learned) or len(values) - learned[0] < MIN_POINTS:
        return None
    offset = int(learned[0])
    values = values[offset:]
    epochs = np.arange(1, len(values) + 1, dtype=float)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # an undetermined covariance, which is not used
            (a, b, c), _ = curve_fit(
                lambda t, a, b, c: a * -np.expm1(-(t**b) / np.maximum(c, 1e-6)),
                epochs,
                values,
                p0=(1, 1, 1),
                bounds=((0, 0, 0), (1, 1, np.inf)),
                sigma=np.geomspace(1, 0.1, len(values)),
            )
    except RuntimeError:  # the search ended without a minimum
        return None
    return LearningCurve(float(a), float(b), max(float(c), 1e-6), offset)


class MemorizationDetector:
    r"""Decide class by class, epoch by epoch, whether labels should be corrected from now on.

    A class is detected in the first epoch t with :math:`\rho(t)` above ``relative_change``, on the curve
    fitted to all epochs so far; once detected it stays so. A class that no curve detects is detected at
    ``latest_fraction`` of the training if it was learned at all (IoU of at least ``min_iou``): labels that
    are corrected late are better than labels that are memorized.

    Args:
        num_classes: K, background included, for which nothing is decided.
        relative_change: :math:`r \in (0, 1)`; larger values correct later.
        latest_fraction: share of the training after which a class is detected without a curve, in (0, 1].
        min_iou: training IoU below which a class is never detected: its predictions are worth nothing yet.
        per_class: whether each class has a curve of its own; else one curve, the mean of all, decides for all
            of them at once, but for those below ``min_iou``. This is the comparison that shows what the
            classes' own timing is worth.

    Attributes:
        iou: training IoU by class and epoch.
        detected: epoch of detection by class.
        reasons: what was found, by class, in words.

    State: all three attributes.
    """

    def __init__(
        self,
        num_classes: int,
        relative_change: float = 0.9,
        latest_fraction: float = 0.6,
        min_iou: float = NOT_LEARNED,
        per_class: bool = True,
    ) -> None:
        if not 0 < relative_change < 1:
            raise ValueError(f"Expected 0 < relative_change < 1, got {relative_change}.")
        if not 0 < latest_fraction <= 1:
            raise ValueError(f"Expected 0 < latest_fraction <= 1, got {latest_fraction}.")
        if not 0 <= min_iou <= 1:
            raise ValueError(f"Expected 0 <= min_iou <= 1, got {min_iou}.")
        self.relative_change = relative_change
        self.latest_fraction = latest_fraction
        self.min_iou = min_iou
        self.per_class = per_class
        self.iou: dict[int, list[float]] = {k: [] for k in range(1, num_classes)}
        self.detected: dict[int, int] = {}
        self.reasons: dict[int, str] = {}

    def update(self, iou: Sequence[float], max_epochs: float) -> list[int]:
        """Take the IoU of an epoch, foreground classes in order, and return the classes newly detected."""
        for values, value in zip(self.iou.values(), iou, strict=True):
            values.append(float(value))
        found = []
        for k in self.iou:
            if k not in self.detected and (reason := self.reason(k, max_epochs)):
                self.detected[k], self.reasons[k] = len(self.iou[k]), reason
                found.append(k)
        return found

    def reason(self, k: int, max_epochs: float) -> str | None:
        """Why class k is detected at its latest epoch, or None if it is not."""
        epoch, values = len(self.iou[k]), self.watched(k)
        if self.iou[k][-1] < self.min_iou:
            return None
        curve = fit_learning_curve(values)
        if curve is not None and (change := curve.relative_change(epoch)) > self.relative_change:
            return f"the fitted curve keeps {1 - change:.0%} of its initial slope"
        if epoch >= self.latest_fraction * max_epochs:
            return f"no fitted curve has flattened by {self.latest_fraction:.0%} of the training"
        return None

    def watched(self, k: int) -> list[float]:
        """The values that decide for class k: its own, or the means over classes."""
        if self.per_class:
            return self.iou[k]
        return [fmean(values) for values in zip(*self.iou.values(), strict=True)]

    def curves(self) -> dict[int, LearningCurve | None]:
        """The fits by class: of detected classes to the epochs up to their detection, else of all epochs."""
        return {k: fit_learning_curve(self.watched(k)[: self.detected.get(k)]) for k in self.iou}

    def summary(self) -> dict[str, Any]:
        """Points, fits and decisions by class, ready for JSON."""
        curves = self.curves()
        return {
            str(k): {
                "iou": self.iou[k],
                "fit": asdict(curve) if (curve := curves[k]) else None,
                "detected": self.detected.get(k),
                "reason": self.reasons.get(k),
            }
            for k in self.iou
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"iou": self.iou, "detected": self.detected, "reasons": self.reasons}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.iou = {k: list(values) for k, values in state["iou"].items()}
        self.detected, self.reasons = dict(state["detected"]), dict(state["reasons"])
