"""Which voxels of a doubtful label map a network's confident predictions replace."""

from collections.abc import Collection

import torch
from torch import Tensor

from monai_ext.keys import UNLABELED


class CorrectLabels:
    r"""Replace labels by confident predictions of those classes whose correction has begun.

    With :math:`p` the probabilities at a voxel, :math:`y` its label, :math:`j = \arg\max_{i>0} p_i` the best
    class of the foreground, and C the background with the classes under correction, the prediction is

    .. math::

        k = \begin{cases} j & \text{if } p_j > p_0, \text{ or if } p_j > \tau_{fg} \text{ and }
            p_0 \le \tau_{bg} \\ 0 & \text{else} \end{cases}

    and the label becomes :math:`k` where

    1. the prediction is confident: :math:`p_k > \tau_{fg}` for :math:`k > 0`, :math:`p_0 > \tau_{bg}` else,
    2. :math:`y \in C`, and 3. :math:`k \in C`,
    4. :math:`k` is the background, or some voxel of the same image has it as its label.

    So an image without a voxel of a class under correction stays as it is, and 255 is never replaced.
    Deterministic; the input is not changed.

    With thresholds of at least 0.5, :math:`k = \arg\max p` and this is the published rule. Lower values of
    :math:`\tau_{fg}` say that annotators leave out what they doubt: between two classes the foreground's
    probability is divided, so that the background, which noise puts there in half of the cases, would win.

    Args:
        foreground_threshold: :math:`\tau_{fg}`; 1 or more never replaces on behalf of the foreground.
        background_threshold: :math:`\tau_{bg}`, likewise.
        per_slice: the "image" of condition 4 is a slice along the last axis, as published; else the
            whole volume, so that a class can come back to a slice from which noise has removed it.
        ignore_unsure: where 2 to 4 hold, and the prediction differs from the label without being confident,
            the label becomes 255: the loss skips it from then on.

    Raises:
        ValueError: if a threshold is negative, or the shapes disagree.

    Differs from the source: thresholds below 0.5; condition 4 by volume; ``ignore_unsure`` stands for
    the published code's optional marking of doubtful voxels.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.
    """

    def __init__(
        self,
        foreground_threshold: float = 0.7,
        background_threshold: float = 0.7,
        per_slice: bool = True,
        ignore_unsure: bool = False,
    ) -> None:
        if min(foreground_threshold, background_threshold) < 0:
            got = f"{foreground_threshold} and {background_threshold}"
            raise ValueError(f"Expected thresholds >= 0, got {got}.")
        self.foreground_threshold = foreground_threshold
        self.background_threshold = background_threshold
        self.per_slice = per_slice
        self.ignore_unsure = ignore_unsure

    def __call__(self, probs: Tensor, label: Tensor, classes: Collection[int]) -> Tensor:
        """The corrected label.

        Args:
            probs: (K, *S), summing to 1 over classes.
            label: (1, *S) integer classes or 255.
            classes: foreground classes under correction.
        """
        if probs.ndim != label.ndim or label.shape != (1, *probs.shape[1:]):
            got = f"{tuple(probs.shape)} and {tuple(label.shape)}"
            raise ValueError(f"Expected probs (K, *S) and label (1, *S) with equal S, got {got}.")
        pred = self.predict(probs)
        confident = torch.where(
            pred > 0,
            probs[1:].amax(dim=0, keepdim=True) > self.foreground_threshold,
            self.is_background(probs),
        )
        axes = tuple(range(1, label.ndim - 1 if self.per_slice else label.ndim))
        movable, legal = label == 0, pred == 0
        for k in classes:
            present = (label == k).sum(dim=axes, keepdim=True) > 0
            movable, legal = movable | (label == k), legal | (pred == k) & present
        replaceable = movable & legal
        done = torch.where(replaceable & confident, pred.to(label.dtype), label)
        if self.ignore_unsure:
            done = done.masked_fill(replaceable & ~confident & (pred != label), UNLABELED)
        return done

    def predict(self, probs: Tensor, dim: int = 0) -> Tensor:
        """The class k of every voxel, one channel instead of K along ``dim``."""
        background = probs.narrow(dim, 0, 1)
        highest, best = probs.narrow(dim, 1, probs.shape[dim] - 1).max(dim=dim, keepdim=True)
        doubtful = (highest > self.foreground_threshold) & ~self.is_background(probs, dim)
        return torch.where((highest > background) | doubtful, best + 1, 0)

    def is_background(self, probs: Tensor, dim: int = 0) -> Tensor:
        """Where the background is confident."""
        return probs.narrow(dim, 0, 1) > self.background_threshold
