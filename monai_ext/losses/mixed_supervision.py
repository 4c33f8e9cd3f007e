from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from monai_ext.keys import LABEL, SUPERVISION, UNLABELED, Supervision
from monai_ext.losses.divergence import entropy_map, kl_map, log_softmax, mean_over_items
from monai_ext.losses.partial_labels import PartialCrossEntropyLoss, ReductionPer, check_classes, check_label

STRONG, WEAK = 0, 1
"""Position of the branch that learns from masks (teacher) and of the other (student) in ``pred``."""

Coupling = Literal["kl", "pseudo_mask"]


class MixedSupervisionLoss(nn.Module):
    r"""Full masks teach the strong branch; few labels, that teacher and confidence teach the weak branch.

    Low when the teacher fits the masks, and the student fits the few labeled voxels, agrees with the
    teacher and is confident everywhere else.

    .. math::

        L = L_s + \lambda_w L_w + \rho\, (\lambda_{kd} L_{kd} + \lambda_{ent} L_{ent})

    .. math::

        L_s &= -\frac{1}{|\Omega_s|} \sum_{r \in \Omega_s} \log p^t_{y(r)}(r), \qquad
        L_w = -\frac{1}{|\Omega_p|} \sum_{r \in \Omega_p} \log p^b_{y(r)}(r), \\
        L_{kd} &= \frac{1}{|\Omega|} \sum_{r \in \Omega} \sum_k p^t_k(r) \log \frac{p^t_k(r)}{p^b_k(r)}, \\
        L_{ent} &= -\frac{1}{|\Omega|} \sum_{r \in \Omega} \sum_k p^b_k(r) \log p^b_k(r)

    with :math:`p^t, p^b` the softmax of teacher and student, :math:`\Omega_s` the labeled voxels of the
    items whose supervision is ``full`` or ``noisy`` (:math:`D_s`), :math:`\Omega_p` those of the
    ``partial`` items, :math:`\Omega` all voxels of all items but :math:`D_s`, and :math:`\rho` the
    attribute ``ramp`` (1 unless a handler sets it). The label of a ``tags`` or ``none`` item is not read.
    A part over an empty set is 0 with a zero gradient. A part of weight 0 is not computed.

    Args:
        lambda_partial: :math:`\lambda_w \ge 0`. The default is ours.
        lambda_kd: :math:`\lambda_{kd} \ge 0`. The default is ours: try 1, 10 and 50 on new data.
        lambda_entropy: :math:`\lambda_{ent} \ge 0`. The default is ours.
        detach_teacher: whether the teacher is a constant in :math:`L_{kd}`.
        student_on_strong: whether the student also gets the cross-entropy of :math:`D_s`, with weight 1.
        coupling: ``"kl"`` as above, or ``"pseudo_mask"``: :math:`L_{kd}` becomes the cross-entropy of the
            student with the teacher's arg-max mask (always a constant), the ablation of the paper.
        pseudo_mask_threshold: confidence in [0, 1) that the teacher's largest probability must reach
            for a voxel to enter the pseudo-mask; 0 takes all voxels.
        reduction_per: how :math:`L_s` and :math:`L_w` average, see `PartialCrossEntropyLoss`.

    Attributes:
        ramp: :math:`\rho \ge 0`, a plain float that a ramp-up handler sets.
        terms: the detached parts of the last call without their weights: ``strong_ce``, ``partial_ce``,
            ``kd``, ``entropy`` and, with ``student_on_strong``, ``student_strong_ce``.

    Shape:
        - pred: :math:`(B, 2, K, *S)`, logits of the teacher (``STRONG``) and the student (``WEAK``).
        - target: mapping with ``label`` :math:`(B, 1, *S)`, integer classes or 255 (unlabeled), and
          ``supervision`` :math:`(B)`, integer codes of `monai_ext.keys.Supervision`.
        - returns: :math:`()`, float32 at least.

    Raises:
        TypeError: if the target is no mapping, or its label is not of an integer dtype.
        ValueError: if a weight is negative, a key is missing or the shapes disagree.

    Differs from the source: a constant teacher, means over the labeled voxels of the batch (the published
    form is ``reduction_per="image"``), ``ramp`` and the kinds other than ``full`` and ``partial`` are ours.

    References:
        Dolz, Desrosiers and Ben Ayed, *Teach me to segment with mixed supervision: Confident students
        become masters*, IPMI 2021. https://arxiv.org/abs/2012.08051

    Example:
        >>> target = {"label": torch.zeros(1, 1, 4, 4).long(), "supervision": torch.tensor([0])}  # full
        >>> loss = MixedSupervisionLoss()
        >>> loss(torch.zeros(1, 2, 2, 4, 4), target)  # log 2 of the teacher, nothing of the student
        tensor(0.6931)
        >>> sorted(loss.terms)
        ['entropy', 'kd', 'partial_ce', 'strong_ce']
    """

    def __init__(
        self,
        lambda_partial: float = 1.0,
        lambda_kd: float = 5.0,
        lambda_entropy: float = 0.1,
        detach_teacher: bool = True,
        student_on_strong: bool = False,
        coupling: Coupling = "kl",
        pseudo_mask_threshold: float = 0.0,
        reduction_per: ReductionPer = "batch",
    ) -> None:
        super().__init__()
        if min(lambda_partial, lambda_kd, lambda_entropy) < 0:
            raise ValueError(
                "Expected lambda_partial, lambda_kd and lambda_entropy >= 0, "
                f"got {lambda_partial}, {lambda_kd} and {lambda_entropy}."
            )
        if coupling not in get_args(Coupling):
            raise ValueError(f"Expected coupling 'kl' or 'pseudo_mask', got {coupling!r}.")
        if not 0 <= pseudo_mask_threshold < 1:
            raise ValueError(f"Expected pseudo_mask_threshold in [0, 1), got {pseudo_mask_threshold}.")
        self.lambda_partial = lambda_partial
        self.lambda_kd = lambda_kd
        self.lambda_entropy = lambda_entropy
        self.detach_teacher = detach_teacher
        self.student_on_strong = student_on_strong
        self.coupling = coupling
        self.pseudo_mask_threshold = pseudo_mask_threshold
        self.cross_entropy = PartialCrossEntropyLoss(reduction_per=reduction_per)
        self.ramp = 1.0
        self.terms: dict[str, Tensor] = {}

    def forward(self, pred: Tensor, target: Mapping[str, Any]) -> Tensor:
        label, strong = read_target(pred, target)
        log_probs = log_softmax(pred, dim=2)
        teacher, student = log_probs[:, STRONG], log_probs[:, WEAK]
        mask = _keep(label, strong)

        terms = {"strong_ce": (1.0, self.cross_entropy.of_log_probs(teacher, mask))}
        if self.student_on_strong:
            terms["student_strong_ce"] = (1.0, self.cross_entropy.of_log_probs(student, mask))
        if self.lambda_partial:
            partial_ce = self.cross_entropy.of_log_probs(student, _keep(label, ~strong))
            terms["partial_ce"] = (self.lambda_partial, partial_ce)
        if self.ramp * self.lambda_kd:
            terms["kd"] = (self.ramp * self.lambda_kd, self._distillation(student, teacher, ~strong))
        if self.ramp * self.lambda_entropy:
            entropy = mean_over_items(entropy_map(student), ~strong)
            terms["entropy"] = (self.ramp * self.lambda_entropy, entropy)

        self.terms = {name: term.detach() for name, (_, term) in terms.items()}
        return torch.stack([factor * term for factor, term in terms.values()]).sum()

    def _distillation(self, student: Tensor, teacher: Tensor, items: Tensor) -> Tensor:
        if self.coupling == "kl":
            teacher = teacher.detach() if self.detach_teacher else teacher
            return mean_over_items(kl_map(student, teacher), items)
        confidence, pseudo_mask = teacher.detach().exp().max(dim=1, keepdim=True)
        pseudo_mask = pseudo_mask.where(confidence >= self.pseudo_mask_threshold, UNLABELED)
        return self.cross_entropy.of_log_probs(student, _keep(pseudo_mask, items))


def read_target(pred: Tensor, target: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Check the pair that a two-branch loss is given, and say what each item teaches.

    Args:
        pred: logits of the two branches, (B, 2, K, *S).
        target: mapping with ``label`` (B, 1, *S) and ``supervision`` (B,), codes of `Supervision`.

    Returns:
        The label, ``UNLABELED`` all over the items whose supervision is ``tags`` or ``none``, and a
        boolean (B,) that marks the items of kind ``full`` or ``noisy``.

    Raises:
        TypeError: if the target is no mapping, or its label is not of an integer dtype.
        ValueError: if a key is missing or the shapes disagree.
    """
    if not isinstance(target, Mapping):
        raise TypeError(
            f"Expected target as a mapping with {LABEL!r} and {SUPERVISION!r}, "
            f"got {type(target).__name__}; give the trainer a prepare_batch that builds it."
        )
    if missing := {LABEL, SUPERVISION} - target.keys():
        raise ValueError(
            f"Expected target with {LABEL!r} and {SUPERVISION!r}, got {sorted(target)}; "
            f"add {sorted(missing)} in prepare_batch."
        )
    if pred.ndim < 4 or pred.shape[1] != 2:
        raise ValueError(
            f"Expected pred (B, 2, K, *S), the logits of two branches, got {tuple(pred.shape)}; "
            "use a two-branch network."
        )
    code = torch.as_tensor(target[SUPERVISION], device=pred.device)
    if code.shape != pred.shape[:1]:
        raise ValueError(
            f"Expected {SUPERVISION!r} (B,), one code an item, B = {len(pred)}, got {tuple(code.shape)}."
        )
    check_label(pred[:, STRONG], target[LABEL])
    check_classes(pred.shape[2], target[LABEL])
    strong = (code == Supervision.FULL.code) | (code == Supervision.NOISY.code)
    return _keep(target[LABEL], strong | (code == Supervision.PARTIAL.code)), strong


def _keep(label: Tensor, items: Tensor) -> Tensor:
    """Return the label (B, 1, *S) of the marked items (B,), ``UNLABELED`` in the others."""
    return label.masked_fill(~items.view(-1, *[1] * (label.ndim - 1)), UNLABELED)
