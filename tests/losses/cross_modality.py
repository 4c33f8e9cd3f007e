"""What the tests of ``CrossModalityEquivarianceLoss`` share: views of score maps, its terms, gradients."""

import math

import numpy as np
import torch

from monai_ext.inferers import TwoViews
from monai_ext.losses import CrossModalityEquivarianceLoss

ALL_OFF = {"lambda_within": 0, "lambda_cross": 0, "lambda_kl": 0}
TAGS = torch.tensor([[1], [0], [255], [1]])


def case(batch=4, modalities=2, space=(4, 6), seed=0):
    """Score maps of two views that have nothing to do with each other; a column is not valid."""
    generator = torch.Generator().manual_seed(seed)
    size = (3, batch, 2 * modalities, *space)
    maps, moved, of_moved = torch.randn(size, generator=generator, dtype=torch.float64)
    valid = torch.ones(batch, 1, *space, dtype=torch.bool)
    valid[0, :, :, -1] = False
    return TwoViews(maps, moved, of_moved, valid)


def certain(cams, found=True):
    """Views in which the activation maps (2, B, M, H, W) are given and the classifiers are certain."""
    background = cams - 100 if found else cams + 100
    first, second = torch.stack((background, cams), dim=3).flatten(2, 3)
    return TwoViews(first, first, second, torch.ones_like(first[:, :1], dtype=torch.bool))


def pooled(maps, share):
    """Scores [modality][class] of one image."""
    highest = [np.sort(m.ravel())[::-1][: math.ceil(share * m.size)] for m in maps]
    return np.array([h.mean() for h in highest]).reshape(-1, 2)


def log_softmax(z):
    return z - np.log(np.exp(z).sum())


def unit_range(c):
    return np.maximum(0, c - c.min() - 1e-8) / (c.max() - c.min() + 1e-8)


def unit_norm(c):
    return c / max(np.sqrt((c**2).sum()), 1e-8)


def by_hand(views, tags, share, tau, mean=False, gate="found"):
    """The four terms as written: loops over images, modalities and views."""
    maps, moved, of_moved, valid = (v.double().numpy() for v in views)
    batch, modalities = len(maps), maps.shape[1] // 2
    known = sum(tag != 255 for tag in tags)
    terms = dict.fromkeys(("classification", "within", "cross", "kl"), 0.0)
    for b, tag in enumerate(tags):
        s = [pooled(m[b], share) for m in (maps, of_moved)]
        c = [np.maximum(0, m[b, 1::2]) * valid[b] for m in (moved, of_moved)]
        for i in range(modalities):
            if tag != 255:
                terms["classification"] -= sum(log_softmax(s[v][i])[tag] for v in (0, 1)) / 2 / known
            if tag == 1:
                error = (unit_range(c[0][i]) - unit_range(c[1][i])) ** 2 * valid[b, 0]
                terms["within"] += error.sum() / valid[b].sum() / batch
            for j in {*range(modalities)} - {i}:
                for own, other in ((0, 1), (1, 0)):
                    ahead = s[other][:, 1] - s[other][:, 0]
                    if tag == 1 and ahead[j] > 0 and (gate == "found" or ahead[j] > ahead[i]):
                        error = (unit_norm(c[own][i]) - unit_norm(c[other][j])) ** 2
                        distance = error.mean() if mean else error.sum()
                        terms["cross"] += distance / 2 / (modalities - 1) / batch
                    q, p = log_softmax(s[own][j] / tau), log_softmax(s[own][i] / tau)
                    terms["kl"] += tau**2 * (np.exp(q) * (q - p)).sum() / 2 / (modalities - 1) / batch
    return terms


def gradients(views, tags, **arguments):
    """Of a loss to the three kinds of maps."""
    leaves = [v.detach().clone().requires_grad_() for v in views[:3]]
    loss = CrossModalityEquivarianceLoss(**{**ALL_OFF, **arguments})(TwoViews(*leaves, views.valid), tags)
    loss.backward()
    return [torch.zeros_like(v) if v.grad is None else v.grad for v in leaves]


def gradients_of(term, views, tags, **arguments):
    """Of one weighted term alone."""
    with_term = gradients(views, tags, **arguments, **{f"lambda_{term}": 1})
    without = gradients(views, tags, **arguments)
    return [a - b for a, b in zip(with_term, without, strict=True)]
