import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_ext.keys import UNLABELED
from monai_ext.losses import CoTeachingLoss, PartialCrossEntropyLoss
from monai_ext.networks import TwinNetwork


def case(*space: int, classes: int = 3, batch: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of two networks and a label in which about a third of the voxels are unlabeled."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 1 / 3] = UNLABELED
    return torch.randn(batch, 2, classes, *space, generator=g, dtype=torch.float64), label


def by_hand(logits: Tensor, label: Tensor, share: float) -> float:
    """The formula as written: the losses of every voxel in a list, sorted by those of the other network."""
    pairs = []
    p = logits.softmax(dim=2).numpy()
    for (first, second), y in zip(p, label[:, 0].numpy(), strict=True):
        for r in np.ndindex(y.shape):
            if y[r] != UNLABELED:
                pairs.append((-np.log(first[(y[r], *r)]), -np.log(second[(y[r], *r)])))
    kept = len(pairs) - math.floor(share * len(pairs))
    means = []
    for one in (0, 1):
        easy_for_other = sorted(pairs, key=lambda pair: pair[1 - one])[:kept]
        means.append(np.mean([pair[one] for pair in easy_for_other]))
    return float(np.mean(means))


@pytest.mark.parametrize(("forget_rate", "ramp"), [(0.0, 1.0), (0.3, 1.0), (0.6, 0.25), (0.99, 1.0)])
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
def test_equals_the_written_formula(space, forget_rate, ramp):
    logits, label = case(*space)
    loss = CoTeachingLoss(forget_rate)
    loss.ramp = ramp
    torch.testing.assert_close(loss(logits, label).item(), by_hand(logits, label, ramp * forget_rate))


@pytest.mark.parametrize(("forget_rate", "ramp"), [(0.0, 1.0), (0.5, 0.0)])
def test_without_forgetting_it_is_the_mean_cross_entropy_of_both(forget_rate, ramp):
    logits, label = case(4, 4)
    loss = CoTeachingLoss(forget_rate)
    loss.ramp = ramp
    expected = sum(PartialCrossEntropyLoss()(z, label) for z in logits.unbind(dim=1)) / 2
    torch.testing.assert_close(loss(logits, label), expected)


@given(st.integers(0, 10_000), st.floats(0, 0.99))
@settings(max_examples=25, deadline=None)
def test_networks_have_no_order(seed, forget_rate):
    logits, label = case(4, 4, seed=seed)
    loss = CoTeachingLoss(forget_rate)
    torch.testing.assert_close(loss(logits.flip(1), label), loss(logits, label))


@given(st.integers(0, 10_000), st.floats(0, 0.99), st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_the_share_of_labeled_voxels_without_a_gradient_is_rate_times_ramp(seed, forget_rate, ramp):
    logits, label = case(4, 4, seed=seed)
    loss = CoTeachingLoss(forget_rate)
    loss.ramp = ramp
    (gradient,) = torch.autograd.grad(loss(logits.requires_grad_(), label), logits)
    learned = gradient.ne(0).any(dim=2)
    labeled = label[:, 0] != UNLABELED
    forgotten = math.floor(ramp * forget_rate * int(labeled.sum()))
    assert learned.sum(dim=(0, 2, 3)).tolist() == [labeled.sum() - forgotten] * 2
    assert not learned[~labeled[:, None].expand_as(learned)].any()


def test_no_step_waits_for_the_device():
    """A tensor on the device meta has no values: whoever asks for one, or for their number, fails."""
    logits, label = (part.to("meta") for part in case(4, 4))
    assert CoTeachingLoss(0.3)(logits, label).shape == ()


def test_each_network_forgets_what_is_hard_for_the_other():
    logits = torch.zeros(1, 2, 2, 1, 4)
    logits[0, 0, 1, 0, 1] = 5  # the label, 0, is hard for the first network at voxel 1
    logits[0, 1, 1, 0, 2] = 5  # and for the second at voxel 2
    label = torch.zeros(1, 1, 1, 4, dtype=torch.long)
    (gradient,) = torch.autograd.grad(CoTeachingLoss(0.25)(logits.requires_grad_(), label), logits)
    assert gradient[0, 0, 0, 0].ne(0).tolist() == [True, True, False, True]
    assert gradient[0, 1, 0, 0].ne(0).tolist() == [True, False, True, True]


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("scale", [1.0, 1e38])
def test_no_labeled_voxel_gives_zero_with_a_zero_gradient(batch, scale):
    logits = (scale * torch.rand(batch, 2, 3, 4, 4)).requires_grad_()  # at 1e38 their sum is infinite
    loss = CoTeachingLoss(0.5)(logits, torch.full((batch, 1, 4, 4), UNLABELED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_a_single_labeled_voxel_is_never_forgotten():
    label = torch.full((1, 1, 3, 3), UNLABELED)
    label[..., 1, 1] = 2
    logits, _ = case(3, 3, batch=1)
    expected = sum(PartialCrossEntropyLoss()(z, label) for z in logits.unbind(dim=1)) / 2
    torch.testing.assert_close(CoTeachingLoss(0.99)(logits, label), expected)


def test_gradient():
    logits, label = case(3, 3)
    loss = CoTeachingLoss(0.4)
    assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())


def test_extreme_logits_and_an_absent_class_stay_finite():
    logits, label = case(4, 4)
    logits = 1e4 * logits.float().sign()
    logits[:, :, 2] = -1e4  # no network predicts class 2, no label names it
    loss = CoTeachingLoss(0.2)(logits.requires_grad_(), label.masked_fill(label == 2, 0))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("share_labeled", [0, 1], ids=["unlabeled", "labeled"])
def test_bfloat16_logits_are_averaged_in_float32(share_labeled):
    logits, label = case(16, 16)
    label = label if share_labeled else torch.full_like(label, UNLABELED)
    loss = CoTeachingLoss(0.3)(logits.bfloat16(), label)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, CoTeachingLoss(0.3)(logits.bfloat16().float(), label))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_compact_labels_say_the_same(dtype):
    logits, label = case(4, 4)
    loss = CoTeachingLoss(0.3)
    assert loss(logits, label.to(dtype)) == loss(logits, label)


def test_a_few_steps_find_the_disk_and_forget_its_wrong_labels():
    r = torch.linspace(-1, 1, 20)
    disk = (r[:, None] ** 2 + r**2 < 0.4).reshape(1, 1, 20, 20)
    wrong = torch.rand(disk.shape) < 0.2
    loss, twins = (
        CoTeachingLoss(wrong.double().mean().item()),
        TwinNetwork(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)),
    )
    optimizer = torch.optim.Adam(twins.parameters(), lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        logits = twins(disk.float())
        logits.retain_grad()
        loss(logits, (disk ^ wrong).long()).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(dim=2).bool(), disk.expand(1, 2, 20, 20))
    learned = logits.grad.ne(0).any(dim=2)
    assert torch.equal(learned, ~wrong.expand_as(learned))


@pytest.mark.parametrize("forget_rate", [-0.1, 1.0])
def test_says_that_the_rate_is_a_share_below_one(forget_rate):
    with pytest.raises(ValueError, match=f"0 <= forget_rate < 1, got {forget_rate}"):
        CoTeachingLoss(forget_rate)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 3, 4, 4), (2, 2, 3)])
def test_says_that_two_networks_are_due(shape):
    with pytest.raises(ValueError, match=r"Expected logits \(B, 2, K, \*S\).*got \(2, .* and \(2, 1, 4, 4\)"):
        CoTeachingLoss(0.2)(torch.zeros(shape), torch.zeros(2, 1, 4, 4, dtype=torch.long))


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (2, 1, 4, 5), (2, 3, 4, 4)])
def test_says_which_shapes_disagree(shape):
    with pytest.raises(ValueError, match=r"equal B and S, got \(2, 3, 4, 4\) and \("):
        CoTeachingLoss(0.2)(torch.zeros(2, 2, 3, 4, 4), torch.zeros(shape, dtype=torch.long))


def test_says_what_is_wrong_with_the_label():
    logits, label = case(4, 4)
    with pytest.raises(TypeError, match=r"got torch\.float32.*label\.long\(\)"):
        CoTeachingLoss(0.2)(logits, label.float())
    with pytest.raises(ValueError, match=r"labels 0 to 2 or 255 .*got \[7\]"):
        CoTeachingLoss(0.2)(logits, torch.full_like(label, 7))
