from __future__ import annotations

import torch
from torch import Tensor, nn


class ShannonEntropyLoss(nn.Module):
    r"""Mean Shannon entropy of the softmax: rewards confidence, whatever the class.

    Low when every voxel gives nearly all its probability to one class; at most :math:`\log K`, where all
    classes are equal. There its gradient is zero: entropy leaves the most uncertain voxels to the other
    terms. Alone it is content with one class everywhere, so it needs a term that says which class.

    .. math::

        L = -\frac{1}{|\Omega|} \sum_{r \in \Omega} \sum_k p_k(r) \log p_k(r)

    with :math:`p = \mathrm{softmax}(\text{logits})` and :math:`\Omega` all voxels of the batch.

    Shape:
        - logits: :math:`(B, K, *S)`, raw scores, any floating dtype.
        - returns: :math:`()`, in nats, float32 at least; 0 for an empty batch.

    References:
        Dolz, Desrosiers and Ben Ayed, *Teach me to segment with mixed supervision: Confident students
        become masters*, IPMI 2021. https://arxiv.org/abs/2012.08051

    Example:
        >>> ShannonEntropyLoss()(torch.zeros(1, 2, 4, 4))  # log 2
        tensor(0.6931)
    """

    def forward(self, logits: Tensor) -> Tensor:
        return mean_over_items(entropy_map(log_softmax(logits)))


class KLDivergenceLoss(nn.Module):
    r"""Kullback-Leibler divergence of the teacher from the student, the knowledge-distillation term.

    Low when the student's softmax equals the teacher's at every voxel; never negative.

    .. math::

        L = \frac{1}{|\Omega|} \sum_{r \in \Omega} \sum_k
            p^t_k(r) \big( \log p^t_k(r) - \log p^b_k(r) \big),
        \qquad p = \mathrm{softmax}(\text{logits} / T)

    with :math:`p^t` the teacher, :math:`p^b` the student and :math:`\Omega` all voxels of the batch. The
    gradient in the student's logits is :math:`(p^b - p^t) / (T |\Omega|)`.

    Args:
        detach_teacher: whether the teacher is a constant; False lets it move toward the student.
        temperature: :math:`T > 0`, above 1 softens both; the loss is not multiplied by :math:`T^2`.

    Shape:
        - student_logits, teacher_logits: :math:`(B, K, *S)`, raw scores, any floating dtype.
        - returns: :math:`()`, in nats, float32 at least; 0 for an empty batch.

    Raises:
        ValueError: if the temperature is not positive, or the two shapes differ.

    Differs from the source: the stop-gradient and the temperature are ours; the former is on by default,
    so that the teacher learns from full labels alone.

    References:
        Dolz, Desrosiers and Ben Ayed, *Teach me to segment with mixed supervision: Confident students
        become masters*, IPMI 2021. https://arxiv.org/abs/2012.08051

    Example:
        >>> teacher = torch.tensor([50.0, 0.0]).reshape(1, 2, 1, 1)
        >>> KLDivergenceLoss()(torch.zeros(1, 2, 1, 1), teacher)  # one-hot against even odds: log 2
        tensor(0.6931)
    """

    def __init__(self, detach_teacher: bool = True, temperature: float = 1.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"Expected temperature > 0, got {temperature}.")
        self.detach_teacher = detach_teacher
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                "Expected student_logits and teacher_logits of one shape (B, K, *S), "
                f"got {tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}."
            )
        teacher_logits = teacher_logits.detach() if self.detach_teacher else teacher_logits
        student, teacher = (log_softmax(z / self.temperature) for z in (student_logits, teacher_logits))
        return mean_over_items(kl_map(student, teacher))


def log_softmax(logits: Tensor, dim: int = 1) -> Tensor:
    """Logarithm of the class probabilities, float32 at least."""
    return logits.log_softmax(dim=dim, dtype=torch.promote_types(logits.dtype, torch.float32))


def entropy_map(log_probs: Tensor) -> Tensor:
    """Entropy of each voxel: (B, K, *S) to (B, *S)."""
    return -(log_probs.exp() * log_probs).sum(dim=1)


def kl_map(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of each voxel, from the log-probabilities: two (B, K, *S) to (B, *S)."""
    return (teacher.exp() * (teacher - student)).sum(dim=1)


def mean_over_items(voxels: Tensor, items: Tensor | None = None) -> Tensor:
    """Mean of ``voxels`` (B, *S) over the batch items that ``items`` (B,) marks, 0 if it marks none.

    It multiplies instead of indexing: the size of the result never depends on data on the device.
    """
    if items is None:
        return voxels.sum() / max(voxels.numel(), 1)
    kept = items.to(voxels)
    return (voxels.flatten(1).mean(dim=1) * kept).sum() / kept.sum().clamp_min(1)
