from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses.divergence import log_softmax
from monai_ext.losses.partial_labels import check_classes, check_label


class CoTeachingLoss(nn.Module):
    r"""Two networks fit the labels, each on the voxels which the other one finds easiest.

    Low when both give high probabilities at the labels of the voxels that are kept. What is left out are the
    voxels of largest loss, where labels are most likely wrong; each network chooses for the other, so that
    none confirms its own mistakes.

    .. math::

        L = \frac{1}{2} \sum_{i=1}^{2} \frac{1}{|\Omega_{3-i}|} \sum_{r \in \Omega_{3-i}} -\log p^i_{y(r)}(r)

    with :math:`p^i` the softmax of network i, :math:`y` the label and :math:`\Omega_j` the labeled voxels of
    the batch without the share :math:`\rho\,\phi` of them (rounded down) at which :math:`-\log p^j_y` is
    largest. :math:`\rho` is the attribute ``ramp``. A batch without labels gives exactly 0 with a zero
    gradient.

    Args:
        forget_rate: :math:`\phi \in [0, 1)`; the share of voxels whose labels are thought to be wrong.

    Attributes:
        ramp: :math:`\rho \in [0, 1]`, a plain float that a ramp-up handler sets.

    Shape:
        - logits: :math:`(B, 2, K, *S)`.
        - label: :math:`(B, 1, *S)`, integer classes or 255 (unlabeled).
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the label is not of an integer dtype.
        ValueError: if ``forget_rate`` is outside [0, 1) or the shapes disagree.

    Differs from the source: what is chosen are voxels of a batch instead of images.

    References:
        Han et al., *Co-teaching: robust training of deep neural networks with extremely noisy labels*,
        NeurIPS 2018, arXiv 1804.06872.

    Example:
        >>> import torch
        >>> label = torch.zeros(1, 1, 2, 2, dtype=torch.long)
        >>> CoTeachingLoss(0.25)(torch.zeros(1, 2, 2, 2, 2), label)  # log 2
        tensor(0.6931)
    """

    def __init__(self, forget_rate: float) -> None:
        super().__init__()
        if not 0 <= forget_rate < 1:
            raise ValueError(f"Expected 0 <= forget_rate < 1, got {forget_rate}.")
        self.forget_rate = forget_rate
        self.ramp = 1.0

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        if logits.ndim != label.ndim + 1 or logits.shape[1] != 2:
            raise ValueError(
                f"Expected logits (B, 2, K, *S) and label (B, 1, *S), got {tuple(logits.shape)} and "
                f"{tuple(label.shape)}."
            )
        check_label(logits[:, 0], label)
        check_classes(logits.shape[2], label)
        target = label.squeeze(1).long()
        labeled = (target != UNLABELED).flatten()
        first, second = (
            F.nll_loss(log_softmax(z), target, ignore_index=UNLABELED, reduction="none").flatten()
            for z in logits.unbind(dim=1)
        )
        count = labeled.sum()
        kept = count - (self.ramp * self.forget_rate * count.double()).long()
        total = sum_of_easy(first, second, labeled, kept) + sum_of_easy(second, first, labeled, kept)
        return total / (2 * kept.clamp_min(1))


def sum_of_easy(losses: Tensor, other: Tensor, labeled: Tensor, kept: Tensor) -> Tensor:
    """Sum of ``losses`` (N,) over the ``kept`` labeled voxels at which ``other`` (N,) is lowest.

    The number of voxels stays on the device, so that no step waits for it.
    """
    order = other.detach().masked_fill(~labeled, torch.inf).argsort()
    easy = torch.arange(len(order), device=order.device) < kept
    return losses[order].where(easy, 0).sum()
