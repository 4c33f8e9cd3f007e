"""Dice and cross-entropy over the labeled voxels."""

import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses.partial_labels import PartialCrossEntropyLoss


class PartialDiceCELoss(nn.Module):
    r"""Sum of Dice loss and cross-entropy over the labeled voxels; the others have no part in either.

    .. math::

        L = L_{ce} + \lambda \, \frac{1}{K - 1} \sum_{k=1}^{K-1} \Big(
        1 - \frac{2 \sum_r p_k(r) \, y_k(r)}{\sum_r p_k(r) + \sum_r y_k(r)} \Big)

    with :math:`L_{ce}` that of ``PartialCrossEntropyLoss``, :math:`p` the softmax, :math:`y_k` 1 where the
    label is k, and r over the labeled voxels of the whole batch, so that images without an object do not
    count by themselves. MONAI's ``DiceLoss`` does the second part. Against plain cross-entropy it keeps small
    objects from being drawn too small.

    Args:
        lambda_dice: :math:`\lambda \ge 0`.

    Shape:
        - logits: :math:`(B, K, *S)`, raw scores.
        - label: :math:`(B, 1, *S)`, integer classes ``0 .. K-1`` or 255.
        - returns: :math:`()`.

    Raises:
        TypeError, ValueError: as ``PartialCrossEntropyLoss``, and if ``lambda_dice`` is negative.

    References:
        Milletari, Navab, Ahmadi, *V-Net*, 3DV 2016, arXiv 1606.04797.
    """

    def __init__(self, lambda_dice: float = 1.0) -> None:
        super().__init__()
        if lambda_dice < 0:
            raise ValueError(f"Expected lambda_dice >= 0, got {lambda_dice}.")
        self.lambda_dice = lambda_dice
        self.cross_entropy = PartialCrossEntropyLoss()
        self.dice = DiceLoss(include_background=False, batch=True)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        cross_entropy = self.cross_entropy(logits, label)  # refuses what does not fit
        labeled = label != UNLABELED
        target = one_hot(label * labeled, logits.shape[1], dtype=logits.dtype) * labeled
        loss: Tensor = cross_entropy + self.lambda_dice * self.dice(
            torch.softmax(logits, 1) * labeled, target
        )
        return loss
