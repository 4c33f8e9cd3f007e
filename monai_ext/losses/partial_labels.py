from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses.divergence import log_softmax

ReductionPer = Literal["batch", "image"]

_LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)  # those that can hold UNLABELED


class PartialCrossEntropyLoss(nn.Module):
    r"""Cross-entropy over the labeled voxels; the others have neither a value nor a gradient.

    Low when the softmax is high at the class of every labeled voxel.

    .. math::

        L = \frac{\sum_{r \in \Omega_p} -w_{y(r)} \log p_{y(r)}(r)}{\sum_{r \in \Omega_p} w_{y(r)}}

    with :math:`p = \mathrm{softmax}(\text{logits})`, :math:`y(r)` the label of voxel :math:`r`,
    :math:`\Omega_p` the voxels whose label is not ``UNLABELED`` (255) and :math:`w` the class weights
    (all 1 by default, which makes :math:`L` a plain mean). An empty :math:`\Omega_p` gives exactly 0,
    attached to the graph, with a zero gradient.

    Args:
        weight: one factor :math:`w_k \ge 0` a class, or None for equal classes.
        reduction_per: what :math:`\Omega_p` spans. ``"batch"``: all labeled voxels of the batch count
            alike. ``"image"``: the equation holds for each image, and the mean is over the images that
            have a labeled voxel, so an image with few labeled voxels counts as much as one with many.

    Shape:
        - logits: :math:`(B, K, *S)`, raw scores of K < 256 classes, any floating dtype.
        - label: :math:`(B, 1, *S)`, integer classes ``0 .. K-1`` or 255.
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the label is not uint8, int16, int32 or int64.
        ValueError: if the shapes disagree, or the weights are not K. A label value that is neither a
            class nor 255 is reported on a CPU only: on an accelerator the check would stall every step
            and is left to the check of the input files.

    Differs from the source: the published form is ``reduction_per="image"``. The default keeps one
    image with a single labeled voxel from outweighing the rest of its batch.

    References:
        Dolz, Desrosiers and Ben Ayed, *Teach me to segment with mixed supervision: Confident students
        become masters*, IPMI 2021. https://arxiv.org/abs/2012.08051

    Example:
        >>> label = torch.tensor([[[[0, 1, 255, 255]]]])
        >>> PartialCrossEntropyLoss()(torch.zeros(1, 2, 1, 4), label)  # log 2, twice, over 2 voxels
        tensor(0.6931)
    """

    weight: Tensor | None

    def __init__(self, weight: Sequence[float] | None = None, reduction_per: ReductionPer = "batch") -> None:
        super().__init__()
        if reduction_per not in get_args(ReductionPer):
            raise ValueError(f"Expected reduction_per 'batch' or 'image', got {reduction_per!r}.")
        if weight is not None and min(weight) < 0:
            raise ValueError(f"Expected class weights >= 0, got {list(weight)}.")
        self.reduction_per = reduction_per
        self.register_buffer("weight", None if weight is None else torch.tensor(weight), persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        check_label(logits, label)
        check_classes(logits.shape[1], label, self.weight)
        return self.of_log_probs(log_softmax(logits), label)

    def of_log_probs(self, log_probs: Tensor, label: Tensor) -> Tensor:
        """The loss from log-probabilities (B, K, *S), which other terms may need too; no checks."""
        target = label.squeeze(1).long()
        weight = None if self.weight is None else self.weight.to(log_probs)
        labeled = target != UNLABELED
        if self.reduction_per == "batch" and weight is None:
            total = F.nll_loss(log_probs, target, ignore_index=UNLABELED, reduction="sum")
            return _ratio(total, labeled.sum())
        loss = F.nll_loss(log_probs, target, weight, ignore_index=UNLABELED, reduction="none")
        share = labeled.to(loss) if weight is None else weight[target.masked_fill(~labeled, 0)] * labeled
        if self.reduction_per == "batch":
            return _ratio(loss.sum(), share.sum())
        per_image = share.flatten(1).sum(dim=1)
        means = _ratio(loss.flatten(1).sum(dim=1), per_image)
        return _ratio(means.sum(), (per_image > 0).sum())


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, and ``total`` (which is 0 there) where there is nothing to count."""
    return total / count.masked_fill(count == 0, 1)


def check_label(logits: Tensor, label: Tensor) -> None:
    """Refuse a label (B, 1, *S) whose dtype or shape does not suit ``logits`` (B, K, *S)."""
    if label.dtype not in _LABEL_DTYPES:
        raise TypeError(
            f"Expected a label of dtype uint8, int16, int32 or int64, got {label.dtype}; "
            "cast it with label.long() or EnsureTyped(keys='label', dtype=torch.int64)."
        )
    if logits.ndim < 3 or label.shape != (len(logits), 1, *logits.shape[2:]):
        raise ValueError(
            "Expected logits (B, K, *S) and label (B, 1, *S) with equal B and S, "
            f"got {tuple(logits.shape)} and {tuple(label.shape)}."
        )


def check_classes(num_classes: int, label: Tensor, weight: Tensor | None = None) -> None:
    """Refuse labels that are no class, where this does not stall the device, and too few or many weights."""
    if num_classes > UNLABELED:
        raise ValueError(
            f"Expected at most {UNLABELED} classes, got {num_classes}: {UNLABELED} is UNLABELED."
        )
    if weight is not None and len(weight) != num_classes:
        raise ValueError(f"Expected one weight a class, {num_classes} for these logits, got {len(weight)}.")
    if label.device.type == "cpu":  # elsewhere the answer would stall the step
        bad = label[((label < 0) | (label >= num_classes)) & (label != UNLABELED)]
        if len(bad):
            raise ValueError(
                f"Expected labels 0 to {num_classes - 1} or {UNLABELED} (unlabeled), "
                f"got {bad.unique().tolist()}; map them before training or raise the number of classes."
            )
