import numpy as np
import pytest
import torch

from monai_ext.inferers import TwoViews
from monai_ext.losses import CrossModalityEquivarianceLoss
from tests.losses.cross_modality import TAGS, gradients_of, log_softmax


def constant_scores(first, second):
    """Views of score maps (1, 4, 2, 2) that are constant: pooled scores are what is given."""
    scores = torch.tensor([*first, *second], dtype=torch.float64)[None, :, None, None].expand(1, 4, 2, 2)
    return TwoViews(scores, scores, scores, torch.ones(1, 1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize("offset", [0.0, 7.0])
def test_modalities_that_are_equally_certain_have_no_divergence(offset):
    views = constant_scores((0.3, -2.0), (0.3 + offset, -2.0 + offset))
    loss = CrossModalityEquivarianceLoss()
    loss(views, TAGS[:1])
    assert loss.terms["kl"].item() == pytest.approx(0, abs=1e-12)
    assert torch.stack(gradients_of("kl", views, TAGS[:1])).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.5, 10.0, 1e4])
def test_divergence_pulls_scores_together_and_does_not_move_the_teacher(temperature):
    views = constant_scores((1.0, -2.0), (0.5, 3.0))
    own, _, _ = gradients_of("kl", views, TAGS[:1], temperature=temperature, pool_share=1)
    s = np.array([[1.0, -2.0], [0.5, 3.0]])
    p = np.exp([log_softmax(z / temperature) for z in s])
    found = own.sum(dim=(2, 3)).reshape(2, 2).numpy()
    expected = 0.5 * temperature * np.array([p[0] - p[1], p[1] - p[0]])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    if temperature == 1e4:  # the limit: half of the difference of the scores, less their means
        centered = s - s.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(found[0], 0.5 * (centered[0] - centered[1]) / 2, rtol=1e-3)
