from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses.divergence import log_softmax
from monai_ext.losses.partial_labels import check_classes, check_label


class GeneralizedCrossEntropyLoss(nn.Module):
    r"""A cross-entropy that gives less weight to labels which the network finds unlikely.

    Low when the softmax is high at the class of every labeled voxel. Between cross-entropy, its limit for
    :math:`q \to 0`, and half the absolute error summed over classes, which is :math:`q = 1`: the gradient is
    that of the cross-entropy times :math:`p_y^q`, so a voxel whose label seems wrong hardly pulls.

    .. math:: L = \frac{1}{|\Omega_p|} \sum_{r \in \Omega_p} \frac{1 - p_{y(r)}(r)^q}{q}

    with :math:`p` the softmax of the logits, :math:`y(r)` the label of voxel :math:`r` and :math:`\Omega_p`
    the voxels of the batch that are not ``UNLABELED`` (255). An empty :math:`\Omega_p` gives exactly 0,
    attached to the graph, with a zero gradient.

    Args:
        q: in (0, 1].

    Shape:
        - logits: :math:`(B, K, *S)`, raw scores, any floating dtype.
        - label: :math:`(B, 1, *S)`, integer classes or 255.
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the label is not of an integer dtype.
        ValueError: if ``q`` is outside (0, 1] or the shapes disagree.

    Differs from the source: voxels instead of images; the truncated form is left out.

    References:
        Zhang, Sabuncu, *Generalized cross entropy loss for training deep neural networks with noisy labels*,
        NeurIPS 2018, arXiv 1805.07836, whose q is 0.7.

    Example:
        >>> label = torch.zeros(1, 1, 2, 2, dtype=torch.long)
        >>> GeneralizedCrossEntropyLoss(q=1)(torch.zeros(1, 2, 2, 2), label)  # 1 - 1/2
        tensor(0.5000)
    """

    def __init__(self, q: float = 0.7) -> None:
        super().__init__()
        if not 0 < q <= 1:
            raise ValueError(f"Expected 0 < q <= 1, got {q}; for q -> 0 use PartialCrossEntropyLoss.")
        self.q = q

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        check_label(logits, label)
        check_classes(logits.shape[1], label)
        labeled = label != UNLABELED
        index = label.long().masked_fill(~labeled, 0)
        log_prob = log_softmax(logits).gather(1, index)
        loss = -torch.expm1(self.q * log_prob) / self.q
        return (loss * labeled).sum() / labeled.sum().clamp_min(1)
