"""Class activation maps that agree between views of an image and between its modalities."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from monai_ext.cams import (
    CLASSES,
    activation,
    by_modality,
    pool_scores,
    scale_to_unit_norm,
    scale_to_unit_range,
)
from monai_ext.keys import UNLABELED


class TwoViews(Protocol):
    """What the loss reads of ``monai_ext.inferers.TwoViews``."""

    maps: Tensor
    moved_maps: Tensor
    maps_of_moved: Tensor
    valid: Tensor


class CrossModalityEquivarianceLoss(nn.Module):
    r"""Learn from image-level tags; reward maps that move with the image and agree between modalities.

    With :math:`s_i` the pooled scores of modality i, :math:`f_i` its score map of the object, and its
    activation maps in two views, :math:`c^1_i = \max(0, T(f_i(x)))` and :math:`c^2_i = \max(0, f_i(T(x)))`,
    :math:`\hat c` scaled to [0, 1] and :math:`z = c / \lVert c \rVert_F`, :math:`\bar{\cdot}` without
    gradient, and :math:`g_j` whether modality j finds the tag in that view:

    .. math::

        L &= \sum_i L^{ce}_i + \lambda_{w} L^{w}_i + \lambda_{c} L^{c}_i + \lambda_{kl} L^{kl}_i \\
        L^{ce}_i &= \tfrac12 [CE(s_i(x), y) + CE(s_i(Tx), y)] \\
        L^{w}_i &= \tfrac{1}{B} \sum_b y \, \frac{1}{|V|} \sum_{p \in V} (\hat c^1_i - \hat c^2_i)^2 \\
        L^{c}_i &= \tfrac12 \tfrac{1}{M-1} \sum_{j \ne i} \tfrac{1}{B} \sum_b y \big[ g^2_j \sum_p (z^1_i -
            \bar z^2_j)^2 + g^1_j \sum_p (z^2_i - \bar z^1_j)^2 \big] \\
        L^{kl}_i &= \tfrac12 \tfrac{1}{M-1} \sum_{j \ne i} \sum_{views} \tfrac{1}{B} \sum_b \tau^2 \,
            KL\big(\bar\sigma(s_j / \tau) \,\Vert\, \sigma(s_i / \tau)\big)

    V are the pixels of the second view that come from inside the image; elsewhere the maps count as 0. The
    first term is low when every modality finds the tags, the others when the maps move with the image, lie at
    the same place in all modalities, and all modalities are equally certain.

    Args:
        lambda_within: :math:`\lambda_w` >= 0.
        lambda_cross: :math:`\lambda_c` >= 0.
        lambda_kl: :math:`\lambda_{kl}` >= 0.
        temperature: :math:`\tau` > 0.
        pool_share: share of a map's positions that make its score, see ``monai_ext.cams.pool_scores``.
        cross_reduction: "sum" over the pixels, which is between 0 and 2, or the published "mean", which is at
            most 2 / (H W) and so switches the term off.
        cross_gate: :math:`g_j` is 1 where modality j finds the tag ("found", as published), or where it does
            so and is more certain of it than modality i ("more_certain"), so that a modality that shows
            little does not teach one that shows more.

    Shape:
        - views: ``monai_ext.inferers.TwoViews`` of score maps :math:`(B, M K, H, W)`, K = 2.
        - tags: :math:`(B, 1)`, 1 if the object is in the image, 0 if not, 255 if nobody said.
        - returns: scalar. ``terms`` holds its parts, detached.

    Raises:
        ValueError: if a weight is negative, another number is out of range, or shapes do not fit.

    Differs from the source: the sum over pixels in the cross-modality term; pixels from outside of the image
    take no part; pooling of the highest values is possible; :math:`L^w` is a mean over V.

    References:
        Patel, Dolz, *Weakly supervised segmentation with cross-modality equivariant constraints*, Medical
        Image Analysis 77, 2022, arXiv 2104.02488.

    Two modalities that are undecided, each with a cross-entropy of log 2:

    >>> from monai_ext.inferers import TwoViews
    >>> maps = torch.zeros(1, 4, 8, 8)
    >>> views = TwoViews(maps, maps, maps, valid=torch.ones(1, 1, 8, 8, dtype=torch.bool))
    >>> CrossModalityEquivarianceLoss()(views, tags=torch.tensor([[1]]))
    tensor(1.3863)
    """

    def __init__(
        self,
        lambda_within: float = 1.0,
        lambda_cross: float = 1.0,
        lambda_kl: float = 0.5,
        temperature: float = 10.0,
        pool_share: float = 0.04,
        cross_reduction: Literal["sum", "mean"] = "sum",
        cross_gate: Literal["found", "more_certain"] = "found",
    ) -> None:
        super().__init__()
        weights = {"within": lambda_within, "cross": lambda_cross, "kl": lambda_kl}
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"Expected lambda_{name} >= 0, got {weight}.")
        if temperature <= 0:
            raise ValueError(f"Expected temperature > 0, got {temperature}.")
        if not 0 < pool_share <= 1:
            raise ValueError(f"Expected 0 < pool_share <= 1, got {pool_share}.")
        if cross_reduction not in ("sum", "mean"):
            raise ValueError(f"Expected cross_reduction sum or mean, got {cross_reduction!r}.")
        if cross_gate not in ("found", "more_certain"):
            raise ValueError(f"Expected cross_gate found or more_certain, got {cross_gate!r}.")
        self.cross_gate = cross_gate
        self.weights = weights
        self.temperature = temperature
        self.pool_share = pool_share
        self.cross_reduction = cross_reduction
        self.terms: dict[str, Tensor] = {}

    def forward(self, views: TwoViews, tags: Tensor) -> Tensor:
        if views.maps.ndim != 4 or views.maps.shape[1] % CLASSES or tags.shape != (len(views.maps), 1):
            raise ValueError(
                f"Expected score maps (B, {CLASSES} M, H, W) and tags (B, 1), got {tuple(views.maps.shape)} "
                f"and {tuple(tags.shape)}; a training has one region to find."
            )
        known = tags[:, 0] != UNLABELED
        present = tags[:, 0] == 1
        scores = [
            pool_scores(by_modality(maps), self.pool_share) for maps in (views.maps, views.maps_of_moved)
        ]
        cams = [activation(maps) * views.valid for maps in (views.moved_maps, views.maps_of_moved)]
        terms = {
            "classification": classification(scores, tags[:, 0], known),
            "within": within_modality(cams, present, views.valid),
            "cross": self.cross_modality(cams, scores, present),
            "kl": mutual_kl(scores, self.temperature),
        }
        self.terms = {name: term.detach() for name, term in terms.items()}
        return terms.pop("classification") + sum(self.weights[name] * term for name, term in terms.items())

    def cross_modality(self, cams: list[Tensor], scores: list[Tensor], present: Tensor) -> Tensor:
        """Sum over modalities of L^c, from activation maps and scores of both views."""
        others = cams[0].shape[1] - 1
        if others == 0:
            return cams[0].new_zeros(())
        evidence = [(logits[..., 1] - logits[..., 0]).detach() for logits in scores]
        unit = [scale_to_unit_norm(cam) for cam in cams]
        apart = ~torch.eye(others + 1, dtype=torch.bool, device=cams[0].device)
        total = cams[0].new_zeros(())
        for own, other in ((0, 1), (1, 0)):
            gate = present[:, None, None] & (evidence[other] > 0)[:, None] & apart
            if self.cross_gate == "more_certain":
                gate = gate & (evidence[other][:, None] > evidence[other][:, :, None])
            distance = squared_distances(unit[own], unit[other].detach())
            total = total + (distance * gate).sum() / len(gate)
        total = total / (2 * others)
        return total if self.cross_reduction == "sum" else total / cams[0][0, 0].numel()


def squared_distances(own: Tensor, other: Tensor) -> Tensor:
    r""":math:`\sum_p (u_i - v_j)^2` (B, M, M) for maps u, v (B, M, H, W); exactly 0 where they are equal."""
    return (own[:, :, None] - other[:, None]).square().sum(dim=(-2, -1))


def classification(scores: list[Tensor], tags: Tensor, known: Tensor) -> Tensor:
    """Sum over modalities of L^ce, from the scores (B, M, K) of both views; unknown tags are skipped."""
    if not known.any():
        return torch.stack(scores).sum() * 0
    per_view = [
        cross_entropy(s[known].transpose(1, 2), tags[known, None].expand(-1, s.shape[1]), reduction="none")
        for s in scores
    ]
    return torch.stack(per_view).mean(dim=(0, 1)).sum()


def within_modality(cams: list[Tensor], present: Tensor, valid: Tensor) -> Tensor:
    """Sum over modalities of L^w, from activation maps (B, M, H, W) of both views."""
    first, second = (scale_to_unit_range(cam) for cam in cams)
    error = ((first - second).square() * valid).sum(dim=(-2, -1)) / valid.sum(dim=(-2, -1)).clamp_min(1)
    return (error * present[:, None]).mean(dim=0).sum()


def mutual_kl(scores: list[Tensor], temperature: float) -> Tensor:
    """Sum over modalities of L^kl, from the scores (B, M, K) of both views."""
    others = scores[0].shape[1] - 1
    total = scores[0].new_zeros(())
    for logits in scores if others else ():
        log_probs = (logits / temperature).log_softmax(dim=2)
        target = log_probs.detach().exp()
        divergence = (target * log_probs.detach()).sum(dim=2)[:, None] - log_probs @ target.transpose(1, 2)
        total = total + divergence.sum() / len(logits)  # of j = i both value and gradient are 0
    return total * temperature**2 / (2 * max(others, 1))
