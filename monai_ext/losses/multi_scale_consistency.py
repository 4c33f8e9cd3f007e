from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from monai_ext.losses.divergence import log_softmax, mean_over_items
from monai_ext.losses.partial_labels import PartialCrossEntropyLoss, check_classes, check_label

Gate = Literal["image", "pixel"]


class MultiScaleConsistencyLoss(nn.Module):
    r"""Fit the labels at every scale, and agree across scales where the network is confident.

    Low when the predictions of all scales have high probabilities at the labels and are alike.

    .. math::

        L = \frac{1}{N} \Big( \sum_s L_{CE}(\kappa z_s, y) + \lambda\, L_{con} \Big), \qquad
        L_{con} = \frac{1}{B V} \sum_{b,r} g_b(r) \sum_s \sum_k p_{s,k} \log \frac{p_{s,k}}{q_k}, \qquad
        q = \min\big(\max\big(\textstyle\sum_s w_s p_s, \epsilon\big), 1 - \epsilon\big)

    with :math:`z_s` the logits of scale s of N, :math:`p_s` their softmax, :math:`y` the label,
    :math:`L_{CE}` the mean over the labeled voxels of the batch (``PartialCrossEntropyLoss``),
    :math:`\kappa` a factor inside it only (a temperature of :math:`1 / \kappa`), :math:`w` weights that sum
    to 1, :math:`\epsilon = 10^{-3}`, B images of V voxels r, labeled or not, and the gate :math:`g_b(r)`: 1
    where :math:`\max_k q_k \ge \rho` in that voxel (``"pixel"``) or anywhere in that image (``"image"``),
    else 0. The gradient passes through both :math:`p_s` and :math:`q`. With equal weights, an open gate and
    without clamping, :math:`L_{con}` is N times the Jensen-Shannon divergence of the scales.

    Args:
        lambda_consistency: :math:`\lambda \ge 0`.
        confidence_threshold: :math:`\rho \in [0, 1]`; above :math:`1 - \epsilon` no gate opens.
        gate: what a confident voxel opens: its image or itself.
        ce_logit_scale: :math:`\kappa > 0`; 1 / N in the published code for organs, 1 for plain
            cross-entropy.
        scale_weights: one :math:`w_s \ge 0` a scale, divided by their sum; None for equal weights.

    Attributes:
        terms: the detached parts of the last call without their weights: ``ce``, the mean of
            :math:`L_{CE}` over scales, and ``consistency``, :math:`L_{con}`.

    Shape:
        - logits: :math:`(B, N, K, *S)`, or :math:`(B, K, *S)` for one scale, whose consistency is 0.
        - label: :math:`(B, 1, *S)`, integer classes or 255 (unlabeled).
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the label is not of an integer dtype.
        ValueError: if an argument is out of range, the shapes disagree, or the weights are not N.

    Differs from the source: the gate by voxel; fixed weights, where the published code for photographs learns
    them; the published factor of the cross-entropy is 1 / N, which makes method and baseline differ in
    temperature, so ours is 1 unless it is given.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.

    Example:
        >>> logits = torch.zeros(1, 3, 2, 4, 4)  # three scales that agree
        >>> MultiScaleConsistencyLoss()(logits, torch.zeros(1, 1, 4, 4, dtype=torch.long))  # log 2
        tensor(0.6931)
    """

    EPSILON = 1e-3

    def __init__(
        self,
        lambda_consistency: float = 1.0,
        confidence_threshold: float = 0.8,
        gate: Gate = "image",
        ce_logit_scale: float = 1.0,
        scale_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if lambda_consistency < 0:
            raise ValueError(f"Expected lambda_consistency >= 0, got {lambda_consistency}.")
        if not 0 <= confidence_threshold <= 1:
            raise ValueError(f"Expected 0 <= confidence_threshold <= 1, got {confidence_threshold}.")
        if gate not in get_args(Gate):
            raise ValueError(f"Expected gate 'image' or 'pixel', got {gate!r}.")
        if ce_logit_scale <= 0:
            raise ValueError(f"Expected ce_logit_scale > 0, got {ce_logit_scale}.")
        if scale_weights is not None and (min(scale_weights, default=0) < 0 or sum(scale_weights) <= 0):
            raise ValueError(f"Expected scale_weights >= 0 with a positive sum, got {list(scale_weights)}.")
        self.lambda_consistency = lambda_consistency
        self.confidence_threshold = confidence_threshold
        self.gate = gate
        self.ce_logit_scale = ce_logit_scale
        self.scale_weights = None if scale_weights is None else tuple(scale_weights)
        self.cross_entropy = PartialCrossEntropyLoss()
        self.terms: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        if logits.ndim == label.ndim:
            logits = logits[:, None]
        check_label(logits[:, 0], label)
        check_classes(logits.shape[2], label)
        count = logits.shape[1]
        log_probs = log_softmax(logits, dim=2)
        kappa = self.ce_logit_scale
        tempered = log_probs if kappa == 1 else log_softmax(kappa * log_probs, dim=2)
        cross_entropy = self.cross_entropy.of_log_probs(
            tempered.flatten(0, 1), label.repeat_interleave(count, dim=0)
        )
        consistency = self.consistency(log_probs) if count > 1 else torch.zeros_like(cross_entropy)
        self.terms = {"ce": cross_entropy.detach(), "consistency": consistency.detach()}
        return cross_entropy + self.lambda_consistency * consistency / count

    def consistency(self, log_probs: Tensor) -> Tensor:
        """Gated sum over scales of the divergence from their mean, averaged over voxels."""
        probs = log_probs.exp()
        mean = (self.weights(probs) * probs).sum(dim=1).clamp(self.EPSILON, 1 - self.EPSILON)  # (B, K, *S)
        cross = (probs.sum(dim=1) * mean.log()).sum(dim=1)  # fewer large arrays than log p - log q
        divergence = (probs * log_probs).sum(dim=(1, 2)) - cross  # (B, *S)
        confidence = mean.detach().amax(dim=1)
        if self.gate == "image":
            confidence = confidence.amax(dim=tuple(range(1, confidence.ndim)), keepdim=True)
        return mean_over_items(divergence * (confidence >= self.confidence_threshold))

    def weights(self, probs: Tensor) -> Tensor:
        """The weights of the scales, in a shape that multiplies ``probs`` (B, N, K, *S)."""
        count = probs.shape[1]
        given = self.scale_weights or (1.0,) * count
        if len(given) != count:
            raise ValueError(f"Expected one weight a scale, {count} for these logits, got {len(given)}.")
        weights = torch.tensor(given, dtype=probs.dtype, device=probs.device)
        return (weights / weights.sum()).view(1, count, *[1] * (probs.ndim - 2))
