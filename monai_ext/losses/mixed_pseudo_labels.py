from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.losses.dice import DiceLoss
from torch import Tensor, nn

from monai_ext.losses.mixed_supervision import STRONG, WEAK, read_target
from monai_ext.losses.partial_labels import PartialCrossEntropyLoss, ReductionPer


class MixedPseudoLabelLoss(nn.Module):
    r"""Two equal branches fit the labeled voxels and, elsewhere, one random mixture of both.

    Low when both branches fit the labels and overlap with the class that their mixture prefers. The
    mixture is drawn anew at each call, so no branch can settle on its own mistakes.

    .. math::

        L = \frac{1}{2} \sum_{i=1}^{2} L_{pCE}(p^i)
            + \rho\, \lambda\, \frac{1}{2} \sum_{i=1}^{2} L_{Dice}(p^i, \hat y), \qquad
        \hat y(r) = \arg\max_k \big( \beta p^1_k(r) + (1 - \beta) p^2_k(r) \big)

    .. math::

        L_{Dice}(p, \hat y) = \frac{1}{K} \sum_k \left( 1 -
            \frac{2 \sum_r p_k(r) [\hat y(r) = k]}{\sum_r p_k(r)^2 + \sum_r [\hat y(r) = k]} \right)

    with :math:`p^1, p^2` the softmax of the branches, :math:`L_{pCE}` the mean cross-entropy over the
    labeled voxels of the batch, whatever the kind of supervision that gave them, :math:`\beta` one draw
    from :math:`U(0, 1)` a call, :math:`\hat y` a constant, :math:`r` running over all voxels of the
    batch, and :math:`\rho` the attribute ``ramp``. The label of a ``tags`` or ``none`` item is not read.
    Without a labeled voxel the first part is 0 with a zero gradient; a weight of 0 skips the second.

    Args:
        lambda_pseudo: :math:`\lambda \ge 0`; 0.5 is the value in the authors' code.
        generator: CPU generator of :math:`\beta`; None takes torch's global one.
        reduction_per: mean of the cross-entropy over the labeled voxels of the batch or of each image.
            With full masks and few marks in one batch, "image" keeps the masks from drowning the marks.

    Attributes:
        ramp: :math:`\rho \ge 0`, a plain float that a ramp-up handler sets.
        terms: the detached parts of the last call without their weights: ``partial_ce``, ``pseudo_dice``.

    Shape:
        - pred: :math:`(B, 2, K, *S)`, logits of the two branches, K > 1.
        - target: mapping with ``label`` :math:`(B, 1, *S)`, integer classes or 255 (unlabeled), and
          ``supervision`` :math:`(B)`, integer codes of `monai_ext.keys.Supervision`.
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the target is no mapping, or its label is not of an integer dtype.
        ValueError: if ``lambda_pseudo`` is negative, a key is missing or the shapes disagree.

    Differs from the source: full labels may stand beside scribbles, and ``ramp`` is ours. Dice is MONAI's
    with the squares, the span (the batch) and the smoothing (1e-5) of the authors' code.

    References:
        Luo et al., *Scribble-Supervised Medical Image Segmentation via Dual-Branch Network and
        Dynamically Mixed Pseudo Labels Supervision*, MICCAI 2022. https://arxiv.org/abs/2203.02106

    Example:
        >>> target = {"label": torch.full((1, 1, 4, 4), 255), "supervision": torch.tensor([4])}  # none
        >>> pred = torch.tensor([50.0, 0.0]).reshape(1, 1, 2, 1, 1).expand(1, 2, 2, 4, 4)
        >>> MixedPseudoLabelLoss()(pred, target)  # both branches agree with their mixture
        tensor(0.)
    """

    def __init__(
        self,
        lambda_pseudo: float = 0.5,
        generator: torch.Generator | None = None,
        reduction_per: ReductionPer = "batch",
    ) -> None:
        super().__init__()
        if lambda_pseudo < 0:
            raise ValueError(f"Expected lambda_pseudo >= 0, got {lambda_pseudo}.")
        self.lambda_pseudo = lambda_pseudo
        self.generator = generator
        self.cross_entropy = PartialCrossEntropyLoss(reduction_per=reduction_per)
        self.dice = DiceLoss(to_onehot_y=True, squared_pred=True, batch=True)
        self.ramp = 1.0
        self.terms: dict[str, Tensor] = {}

    def forward(self, pred: Tensor, target: Mapping[str, Any]) -> Tensor:
        label, _ = read_target(pred, target)
        branches = pred[:, STRONG], pred[:, WEAK]
        partial_ce = sum(self.cross_entropy(logits, label) for logits in branches) / 2
        self.terms = {"partial_ce": partial_ce.detach()}
        factor = self.ramp * self.lambda_pseudo
        if not factor:
            return partial_ce

        first, second = (_softmax(logits) for logits in branches)
        beta = torch.rand((), generator=self.generator).item()  # drawn on the CPU: no device waits
        with torch.no_grad():
            pseudo_label = (beta * first + (1 - beta) * second).argmax(dim=1, keepdim=True)
        pseudo_dice = (self.dice(first, pseudo_label) + self.dice(second, pseudo_label)) / 2
        self.terms["pseudo_dice"] = pseudo_dice.detach()
        return partial_ce + factor * pseudo_dice


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1, dtype=torch.promote_types(logits.dtype, torch.float32))
