import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from monai_ext.keys import UNLABELED
from monai_ext.losses import PartialCrossEntropyLoss, PartialDiceCELoss


def case(*space, classes=3, batch=2, seed=0):
    """Logits and a label of which half is unlabeled."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.5] = UNLABELED
    return torch.randn(batch, classes, *space, generator=g, dtype=torch.float64), label


def dice_by_hand(logits, label):
    """The formula as written: loops over classes and voxels of the batch."""
    losses = []
    for k in range(1, logits.shape[1]):
        both = total = 0.0
        for z, y in zip(logits.numpy(), label[:, 0].numpy(), strict=True):
            for r in np.ndindex(y.shape):
                if y[r] != 255:
                    scores = np.exp(z[(slice(None), *r)])
                    p = scores[k] / scores.sum()
                    both += p * (y[r] == k)
                    total += p + (y[r] == k)
        losses.append(1 - 2 * both / total)
    return np.mean(losses)


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
@pytest.mark.parametrize("lambda_dice", [0.0, 0.5])
def test_equals_the_written_formula(space, lambda_dice):
    logits, label = case(*space)
    expected = PartialCrossEntropyLoss()(logits, label) + lambda_dice * dice_by_hand(logits, label)
    torch.testing.assert_close(PartialDiceCELoss(lambda_dice)(logits, label), expected, rtol=1e-4, atol=1e-5)


def test_equals_monai_where_all_voxels_are_labeled():
    logits, label = case(6, 6)
    label = label.remainder(3)
    monai = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    torch.testing.assert_close(PartialDiceCELoss()(logits, label), monai(logits, label))


def test_unlabeled_voxels_have_no_value_and_no_gradient():
    logits, label = case(6, 6)
    changed = torch.where(label == UNLABELED, torch.randn_like(logits), logits).requires_grad_()
    loss = PartialDiceCELoss()(changed, label)
    torch.testing.assert_close(loss, PartialDiceCELoss()(logits, label))
    loss.backward()
    outside = (label == UNLABELED).expand_as(logits)
    assert not changed.grad[outside].any() and changed.grad[~outside].all()


def test_a_batch_without_an_object_or_without_a_label_is_finite():
    logits, label = case(6, 6)
    for value in (0, UNLABELED):
        assert PartialDiceCELoss()(logits, torch.full_like(label, value)).isfinite()


def test_a_perfect_prediction_costs_nothing():
    label = torch.randint(0, 2, (2, 1, 8, 8))
    logits = 50.0 * (2 * torch.cat([1 - label, label], dim=1) - 1)
    assert PartialDiceCELoss()(logits, label) == pytest.approx(0, abs=1e-4)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="Expected lambda_dice >= 0, got -1"):
        PartialDiceCELoss(-1)
