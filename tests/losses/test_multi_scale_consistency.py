import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor, nn

from monai_ext.inferers import MultiScaleInferer
from monai_ext.keys import UNLABELED
from monai_ext.losses import KLDivergenceLoss, MultiScaleConsistencyLoss, PartialCrossEntropyLoss

GATES = pytest.mark.parametrize("gate", ["image", "pixel"])
SPACES = pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])


def case(*space: int, scales: int = 3, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of a sure image and an unsure one, and a label of which a third is unlabeled."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, scales, classes, *space, generator=g, dtype=torch.float64)
    logits[0] *= 2
    logits[1] /= 10
    label = torch.randint(0, classes, (2, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 1 / 3] = UNLABELED
    return logits, label


def unlabeled(logits: Tensor) -> Tensor:
    return torch.full((len(logits), 1, *logits.shape[3:]), UNLABELED)


def consistency(logits: Tensor, threshold: float = 0.0, **arguments) -> float:
    """The second term alone, every gate open."""
    loss = MultiScaleConsistencyLoss(confidence_threshold=threshold, **arguments)
    loss(logits, unlabeled(logits))
    return loss.terms["consistency"].item()


def by_hand(logits, label, weight, threshold, gate, kappa, w) -> float:
    """The formula as written: loops over image, voxel, scale and class, no broadcasting."""
    ce, gated, scales = [], [], range(logits.shape[1])
    for z, y in zip(logits.numpy(), label[:, 0].numpy(), strict=True):
        divergence, confident = [], []
        for r in np.ndindex(y.shape):
            p = [softmax(z[(s, slice(None), *r)]) for s in scales]
            q = [sum(w[s] / sum(w) * p[s][k] for s in scales) for k in range(z.shape[1])]
            q = [min(max(value, 1e-3), 1 - 1e-3) for value in q]
            divergence.append(sum(p[s][k] * np.log(p[s][k] / q[k]) for s in scales for k in range(len(q))))
            confident.append(max(q) >= threshold)
            if y[r] != UNLABELED:
                ce.append(sum(-np.log(softmax(kappa * z[(s, slice(None), *r)])[y[r]]) for s in scales))
        opened = [any(confident)] * len(confident) if gate == "image" else confident
        gated += [d * g for d, g in zip(divergence, opened, strict=True)]
    return float((np.mean(ce) + weight * np.mean(gated)) / len(scales))


@SPACES
@GATES
@pytest.mark.parametrize(("weight", "kappa", "w"), [(1.0, 1.0, [1, 1, 1]), (5.0, 1 / 3, [0.2, 1, 2])])
def test_equals_the_written_formula(space, gate, weight, kappa, w):
    logits, label = case(*space)
    value = MultiScaleConsistencyLoss(weight, 0.6, gate, kappa, w)(logits, label)
    torch.testing.assert_close(value.item(), by_hand(logits, label, weight, 0.6, gate, kappa, w))


def test_two_scales_have_twice_their_jensen_shannon_divergence():
    logits = case(4, 3, scales=2)[0][1:]
    first, second = logits[0].softmax(dim=1).flatten(2).numpy()
    expected = np.mean([jensenshannon(p, q) ** 2 for p, q in zip(first.T, second.T, strict=True)])
    assert consistency(logits) == pytest.approx(2 * expected)


@pytest.mark.parametrize("scales", [2, 3, 5])
def test_n_scales_have_n_times_the_entropy_of_the_mean_less_the_mean_entropy(scales):
    logits = case(4, 3, scales=scales)[0][1:]
    p = logits[0].softmax(dim=1).flatten(2).numpy()  # (N, K, V)
    expected = entropy(p.mean(axis=0), axis=0) - entropy(p, axis=1).mean(axis=0)
    assert consistency(logits) == pytest.approx(scales * expected.mean())


@given(st.integers(0, 10_000), st.integers(2, 4))
@settings(max_examples=25, deadline=None)
def test_scales_that_agree_cost_nothing_and_others_something(seed, scales):
    logits = case(3, 3, scales=scales, seed=seed)[0][1:]  # none is clamped
    assert consistency(logits[:, :1].expand_as(logits)) == pytest.approx(0, abs=1e-12)
    assert consistency(logits) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certainty_meets_the_clamp(dtype):
    one_hot = 1e4 * torch.eye(3, dtype=dtype)
    agreeing = one_hot[0].expand(3, 3).reshape(1, 3, 3, 1, 1)
    assert consistency(agreeing) == pytest.approx(-3 * math.log(0.999), rel=1e-4)  # 0.0030
    assert consistency(one_hot.reshape(1, 3, 3, 1, 1)) == pytest.approx(3 * math.log(3))


@given(st.permutations([0, 1, 2]), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scales_have_no_order(order, seed):
    logits, label = case(3, 3, seed=seed)
    loss = MultiScaleConsistencyLoss(2.0, 0.6)
    torch.testing.assert_close(loss(logits[:, order], label), loss(logits, label))


def test_weights_belong_to_their_scales_and_count_relative_to_each_other():
    logits, label = case(4, 4)
    equal, given, doubled = (
        MultiScaleConsistencyLoss(confidence_threshold=0, scale_weights=w)
        for w in (None, [1, 2, 5], [10, 4, 2])
    )
    torch.testing.assert_close(given(logits, label), doubled(logits.flip(1), label))
    assert (given(logits, label) - equal(logits, label)).abs() > 0.01


def test_a_single_weight_makes_its_scale_the_teacher_of_the_others():
    logits = case(4, 4)[0][1:]
    first, second, third = logits.unbind(dim=1)
    expected = KLDivergenceLoss()(first, second) + KLDivergenceLoss()(first, third)
    assert consistency(logits, scale_weights=[1, 0, 0]) == pytest.approx(expected.item())


def test_the_weight_scales_the_consistency_only():
    logits, label = case(4, 4)
    loss = MultiScaleConsistencyLoss(lambda_consistency=6.0)
    added = loss(logits, label) - MultiScaleConsistencyLoss(lambda_consistency=0)(logits, label)
    torch.testing.assert_close(added, 6 / 3 * loss.terms["consistency"])


@pytest.mark.parametrize("kappa", [1.0, 1 / 3, 2.0])
def test_the_logit_scale_acts_inside_the_cross_entropy_only(kappa):
    logits, label = case(4, 4)
    loss, plain = MultiScaleConsistencyLoss(ce_logit_scale=kappa), MultiScaleConsistencyLoss()
    loss(logits, label), plain(logits, label)
    expected = sum(PartialCrossEntropyLoss()(kappa * z, label) for z in logits.unbind(dim=1)) / 3
    torch.testing.assert_close(loss.terms["ce"], expected)
    assert loss.terms["consistency"] == plain.terms["consistency"]


def moved_by_consistency(gate: str, threshold: float) -> Tensor:
    """Which of 2 x 4 voxels get a gradient; the mean probability is 0.9 at [0, 0], at most 0.6 elsewhere."""
    p = torch.full((2, 2, 1, 4), 0.55)  # (B, N, 1, V); the scales differ
    p[:, 1] += 0.1
    p[0, :, 0, 0] = torch.tensor([0.88, 0.92])
    logits = torch.cat([p, 1 - p], dim=2).log().requires_grad_()
    loss = MultiScaleConsistencyLoss(confidence_threshold=threshold, gate=gate)
    loss(logits, unlabeled(logits)).backward()
    return logits.grad.abs().sum(dim=(1, 2)) > 1e-6


@pytest.mark.parametrize("threshold", [0.61, 0.89])
@pytest.mark.parametrize(("gate", "moved"), [("image", [4, 0]), ("pixel", [1, 0])])
def test_a_confident_voxel_opens_its_image_or_itself(gate, moved, threshold):
    opened = moved_by_consistency(gate, threshold)
    assert opened.sum(dim=1).tolist() == moved
    assert opened[0, 0]


@GATES
def test_no_voxel_is_confident_above_the_threshold_and_all_are_below_it(gate):
    assert not moved_by_consistency(gate, 0.91).any()
    assert moved_by_consistency(gate, 0.59).all()


@GATES
def test_a_voxel_exactly_as_confident_as_the_threshold_opens_its_gate(gate):
    certain = 1e4 * torch.eye(3, dtype=torch.float64)[0].expand(3, 3).reshape(1, 3, 3, 1, 1)
    assert consistency(certain, threshold=1 - 1e-3, gate=gate) > 0
    assert consistency(certain, threshold=1 - 0.9e-3, gate=gate) == 0


@GATES
def test_gradient(gate):
    logits, label = case(2, 2)
    loss = MultiScaleConsistencyLoss(2.0, 0.6, gate, 0.5, [1, 2, 3])
    assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())


def kept_for_backward(gate: str) -> int:
    """Tensors that the forward pass keeps for the gradient."""
    logits, label = case(4, 4)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        MultiScaleConsistencyLoss(gate=gate)(logits.requires_grad_(), label)
    return len(kept)


def test_the_gate_has_no_gradient_to_keep_memory_for():
    assert kept_for_backward("image") == kept_for_backward("pixel")  # the former takes one maximum more


@pytest.mark.parametrize("axes", [0, 1], ids=["no axis of scales", "one scale"])
def test_one_scale_is_the_cross_entropy_alone(axes):
    logits, label = case(4, 4)
    loss = MultiScaleConsistencyLoss(confidence_threshold=0)
    one = logits[:, 0] if axes == 0 else logits[:, :1]
    torch.testing.assert_close(loss(one, label), PartialCrossEntropyLoss()(logits[:, 0], label))
    assert loss.terms["consistency"] == 0


def test_the_mean_over_a_labeled_batch_is_that_of_batches_of_one():
    logits, label = case(4, 4)
    label = label.remainder(3)
    loss = MultiScaleConsistencyLoss(confidence_threshold=0.6)
    alone = [loss(logits[i : i + 1], label[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(loss(logits, label), torch.stack(alone).mean())


def test_a_batch_without_labels_learns_from_the_consistency():
    logits, _ = case(4, 4)
    loss = MultiScaleConsistencyLoss(confidence_threshold=0)
    value = loss(logits.requires_grad_(), unlabeled(logits))
    value.backward()
    assert loss.terms["ce"] == 0
    assert not any(term.requires_grad for term in loss.terms.values())
    torch.testing.assert_close(value.detach(), loss.terms["consistency"] / 3)
    assert logits.grad.isfinite().all() and logits.grad.ne(0).any()


def test_a_batch_of_no_image_gives_zero():
    logits = torch.zeros(0, 3, 2, 4, 4, requires_grad=True)
    value = MultiScaleConsistencyLoss()(logits, unlabeled(logits))
    value.backward()
    assert value.item() == 0


def test_extreme_logits_and_an_absent_class_stay_finite():
    logits, label = case(4, 4)
    logits = 1e4 * logits.float().sign()
    logits[:, :, 2] = -1e4  # no scale predicts class 2, no label names it
    loss = MultiScaleConsistencyLoss(confidence_threshold=0)
    value = loss(logits.requires_grad_(), label.masked_fill(label == 2, 0))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_one_scale_without_labels_gives_zero_whatever_the_logits():
    logits = (1e38 * torch.rand(1, 1, 3, 4, 4)).requires_grad_()  # their sum is infinite
    value = MultiScaleConsistencyLoss()(logits, unlabeled(logits))
    value.backward()
    assert value.item() == 0
    assert logits.grad.eq(0).all()


def test_bfloat16_logits_are_averaged_in_float32():
    logits, label = case(32, 32)
    loss = MultiScaleConsistencyLoss(ce_logit_scale=1 / 3)
    value = loss(logits.bfloat16(), label)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.bfloat16().float(), label))


def disk(size: int) -> Tensor:
    r = torch.linspace(-1, 1, size)
    return (r[:, None] ** 2 + r**2 < 0.4)[None, None].long()


def test_a_few_steps_find_the_disk_under_wrong_labels():
    clean = disk(24)
    wrong = torch.rand(clean.shape) < 0.3
    label, image = torch.where(wrong, 1 - clean, clean), clean + 0.1 * torch.randn(clean.shape)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    loss, inferer = MultiScaleConsistencyLoss(5.0), MultiScaleInferer([0.75, 1, 1.25], 8, autocast=False)
    for _ in range(40):
        optimizer.zero_grad()
        loss(inferer(image, net), label).backward()
        optimizer.step()
    assert (label == clean).double().mean() < 0.75
    assert (net(image).argmax(dim=1, keepdim=True) == clean).double().mean() > 0.95


def test_the_consistency_carries_a_label_to_scales_that_have_none():
    truth = disk(16)[:, 0]
    sure = 6.0 * torch.stack([1 - truth, truth], dim=1)
    others = torch.randn(2, 2, 16, 16).mul(0.1).requires_grad_()
    optimizer = torch.optim.Adam([others], lr=0.3)
    loss = MultiScaleConsistencyLoss(scale_weights=[8, 1, 1])
    for _ in range(40):
        optimizer.zero_grad()
        logits = torch.cat([sure, others])[None]
        loss(logits, unlabeled(logits)).backward()
        optimizer.step()
    assert torch.equal(others.argmax(dim=1), truth.expand(2, -1, -1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_consistency": -1}, "lambda_consistency >= 0, got -1"),
        ({"confidence_threshold": 1.1}, "0 <= confidence_threshold <= 1, got 1.1"),
        ({"gate": "voxel"}, "gate 'image' or 'pixel', got 'voxel'"),
        ({"ce_logit_scale": 0}, "ce_logit_scale > 0, got 0"),
        ({"scale_weights": [1, -1]}, r"scale_weights >= 0 with a positive sum, got \[1, -1\]"),
        ({"scale_weights": [0, 0]}, "positive sum, got"),
        ({"scale_weights": []}, r"positive sum, got \[\]"),
    ],
)
def test_says_which_argument_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiScaleConsistencyLoss(**arguments)


def test_says_how_many_weights_are_due():
    logits, label = case(4, 4)
    with pytest.raises(ValueError, match="one weight a scale, 3 for these logits, got 2"):
        MultiScaleConsistencyLoss(scale_weights=[1, 1])(logits, label)


@pytest.mark.parametrize("shape", [(2, 3, 3, 4, 5), (3, 3, 3, 4, 4), (2, 3, 5, 4), (2, 3, 3, 2, 4, 4)])
def test_says_which_shapes_disagree(shape):
    with pytest.raises(ValueError, match=r"label \(B, 1, \*S\) with equal B and S, got \("):
        MultiScaleConsistencyLoss()(torch.zeros(shape), torch.zeros(2, 1, 4, 4, dtype=torch.long))


def test_says_what_is_wrong_with_the_label():
    logits, label = case(4, 4)
    with pytest.raises(TypeError, match=r"got torch\.float32.*label\.long\(\)"):
        MultiScaleConsistencyLoss()(logits, label.float())
    with pytest.raises(ValueError, match=r"labels 0 to 2 or 255 .*got \[7\]"):
        MultiScaleConsistencyLoss()(logits, torch.full_like(label, 7))
