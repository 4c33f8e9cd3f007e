import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses import GeneralizedCrossEntropyLoss, PartialCrossEntropyLoss


def case(*space: int, classes: int = 3, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and a label in which about a third of the voxels are unlabeled."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 1 / 3] = UNLABELED
    return torch.randn(batch, classes, *space, generator=g, dtype=torch.float64), label


def by_hand(logits: Tensor, label: Tensor, q: float) -> float:
    """The formula as written: loops over image and voxel, no broadcasting."""
    voxels = []
    for z, y in zip(logits.numpy(), label[:, 0].numpy(), strict=True):
        for r in np.ndindex(y.shape):
            if y[r] != UNLABELED:
                e = np.exp(z[(slice(None), *r)])
                voxels.append((1 - (e[y[r]] / e.sum()) ** q) / q)
    return float(np.mean(voxels))


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
def test_equals_the_written_formula(space, q):
    logits, label = case(*space)
    loss = GeneralizedCrossEntropyLoss(q)(logits, label)
    torch.testing.assert_close(loss.item(), by_hand(logits, label, q))


def test_a_vanishing_q_gives_the_cross_entropy():
    logits, label = case(4, 4)
    expected = PartialCrossEntropyLoss()(logits, label)
    torch.testing.assert_close(GeneralizedCrossEntropyLoss(1e-9)(logits, label), expected, rtol=1e-7, atol=0)


def test_q_of_one_gives_half_the_absolute_error():
    logits, label = case(4, 4)
    label = label.remainder(3)
    onehot = F.one_hot(label[:, 0], 3).movedim(-1, 1)
    error = F.l1_loss(logits.softmax(dim=1), onehot.double(), reduction="sum") / label.numel()
    torch.testing.assert_close(GeneralizedCrossEntropyLoss(q=1)(logits, label), error / 2)


@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None)
def test_a_larger_q_lowers_the_loss(seed, q):
    logits, label = case(3, 3, seed=seed)
    losses = [GeneralizedCrossEntropyLoss(q + step)(logits, label) for step in (0, 0.05)]
    assert PartialCrossEntropyLoss()(logits, label) > losses[0] > losses[1] > 0
    assert losses[0] < 1 / q


@given(st.integers(0, 10_000), st.floats(0.05, 1))
@settings(max_examples=25, deadline=None)
def test_the_gradient_is_that_of_the_cross_entropy_times_a_power_of_the_probability(seed, q):
    logits, label = case(3, 3, seed=seed)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(GeneralizedCrossEntropyLoss(q)(logits, label), logits)
    (plain,) = torch.autograd.grad(PartialCrossEntropyLoss()(logits, label), logits)
    p = logits.detach().softmax(dim=1).gather(1, label.masked_fill(label == UNLABELED, 0))
    torch.testing.assert_close(gradient, plain * p**q)


@given(st.integers(0, 10_000), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_unlabeled_voxels_have_no_value_and_no_gradient(seed, offset):
    logits, label = case(4, 4, seed=seed)
    loss, unlabeled = GeneralizedCrossEntropyLoss(), label == UNLABELED
    noise = torch.zeros_like(logits)
    noise[:, :1] = offset
    moved = (logits + noise * unlabeled).requires_grad_()
    torch.testing.assert_close(loss(moved, label), loss(logits, label))
    (gradient,) = torch.autograd.grad(loss(moved, label), moved)
    assert gradient.masked_select(unlabeled).eq(0).all()
    assert gradient.masked_select(~unlabeled).ne(0).any()


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 1e38])
def test_no_labeled_voxel_gives_zero_with_a_zero_gradient(batch, scale):
    logits = (scale * torch.rand(batch, 3, 4, 4)).requires_grad_()  # at 1e38 their sum is infinite
    loss = GeneralizedCrossEntropyLoss()(logits, torch.full((batch, 1, 4, 4), UNLABELED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_the_mean_over_a_labeled_batch_is_that_of_batches_of_one():
    logits, label = case(4, 4)
    label, loss = label.remainder(3), GeneralizedCrossEntropyLoss()
    alone = [loss(logits[i : i + 1], label[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(logits, label), torch.stack(alone).mean())


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_gradient(q):
    logits, label = case(3, 3)
    loss = GeneralizedCrossEntropyLoss(q)
    assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())


def test_extreme_logits_and_an_absent_class_stay_finite():
    logits = torch.tensor([1e4, -1e4, -1e4]).reshape(1, 3, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    loss = GeneralizedCrossEntropyLoss(0.7)(logits, torch.tensor([[[[0, 1]]]]))  # one right, one wrong
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7 / 2)
    assert logits.grad.eq(0).all()


def test_bfloat16_logits_are_averaged_in_float32():
    logits, label = case(64, 64)
    loss = GeneralizedCrossEntropyLoss()(logits.bfloat16(), label)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, GeneralizedCrossEntropyLoss()(logits.bfloat16().float(), label))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_compact_labels_say_the_same(dtype):
    logits, label = case(4, 4)
    loss = GeneralizedCrossEntropyLoss()
    assert loss(logits, label.to(dtype)) == loss(logits, label)


def square_after_training(loss: nn.Module) -> Tensor:
    """Probability of a square inside of it, where 2 of 5 labels say background, after 100 steps.

    The network is a 1 x 1 convolution of an image of two intensities.
    """
    square = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    square[..., 5:15, 5:15] = True
    label = square.long()
    label[square] = (torch.arange(100) % 5 > 1).long()
    net = nn.Conv2d(1, 2, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(net(square.float()), label).backward()
        optimizer.step()
    p = net(square.float()).softmax(dim=1)[:, 1:]
    assert p[~square].max() < 0.05
    return p[square].detach()


def test_a_few_steps_find_the_square_and_trust_the_majority_more_than_cross_entropy_does():
    odds = 1.5 ** (1 / (1 - 0.7))  # where 0.6 p^(q - 1) = 0.4 (1 - p)^(q - 1)
    robust = square_after_training(GeneralizedCrossEntropyLoss(0.7))
    plain = square_after_training(PartialCrossEntropyLoss())
    torch.testing.assert_close(robust, torch.full_like(robust, odds / (1 + odds)), atol=0.02, rtol=0)
    torch.testing.assert_close(plain, torch.full_like(plain, 0.6), atol=0.02, rtol=0)


@pytest.mark.parametrize("q", [0.0, -0.5, 1.5])
def test_says_that_q_lies_between_zero_and_one(q):
    with pytest.raises(ValueError, match=f"0 < q <= 1, got {q}; for q -> 0 use PartialCrossEntropyLoss"):
        GeneralizedCrossEntropyLoss(q)


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 1, 4, 4), (2, 1, 4, 5), (2, 3, 4, 4)])
def test_says_which_shapes_disagree(shape):
    with pytest.raises(ValueError, match=r"equal B and S, got \(2, 3, 4, 4\) and \("):
        GeneralizedCrossEntropyLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(shape, dtype=torch.long))


def test_says_what_is_wrong_with_the_label():
    logits, label = case(4, 4)
    with pytest.raises(TypeError, match=r"got torch\.float32.*label\.long\(\)"):
        GeneralizedCrossEntropyLoss()(logits, label.float())
    with pytest.raises(ValueError, match=r"labels 0 to 2 or 255 .*got \[7\]"):
        GeneralizedCrossEntropyLoss()(logits, torch.full_like(label, 7))
