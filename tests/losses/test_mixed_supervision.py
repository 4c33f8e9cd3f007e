import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_ext.keys import UNLABELED, Supervision
from monai_ext.losses import (
    KLDivergenceLoss,
    MixedSupervisionLoss,
    PartialCrossEntropyLoss,
    ShannonEntropyLoss,
)
from monai_ext.losses.mixed_supervision import STRONG, WEAK

FULL, PARTIAL, TAGS, NOISY, NONE = (kind.code for kind in Supervision)
ALL_KINDS = [FULL, PARTIAL, TAGS, NOISY, NONE]


def case(*space: int, kinds: list[int] = ALL_KINDS, classes: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of two branches, and labels in which about half of the voxels are unlabeled."""
    g = torch.Generator().manual_seed(0)
    batch = len(kinds)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.5] = UNLABELED
    pred = torch.randn(batch, 2, classes, *space, generator=g, dtype=torch.float64)
    return pred, {"label": label, "supervision": torch.tensor(kinds)}


def by_hand(pred: Tensor, target: dict[str, Tensor], weights: tuple[float, float, float]) -> float:
    """The formula as written: loops over item and voxel, no broadcasting."""
    parts: dict[str, list[float]] = {"s": [], "w": [], "kd": [], "ent": []}
    p = pred.softmax(dim=2).numpy()
    for (teacher, student), y, kind in zip(
        p, target["label"][:, 0].numpy(), target["supervision"], strict=True
    ):
        for r in np.ndindex(y.shape):
            t, b = teacher[(slice(None), *r)], student[(slice(None), *r)]
            if kind in (FULL, NOISY):
                parts["s"] += [-np.log(t[y[r]])] if y[r] != 255 else []
                continue
            parts["w"] += [-np.log(b[y[r]])] if kind == PARTIAL and y[r] != 255 else []
            parts["kd"].append(sum(tk * np.log(tk / bk) for tk, bk in zip(t, b, strict=True)))
            parts["ent"].append(-sum(bk * np.log(bk) for bk in b))
    s, w, kd, ent = (np.mean(voxels) for voxels in parts.values())
    return float(s + weights[0] * w + weights[1] * kd + weights[2] * ent)


@pytest.mark.parametrize("weights", [(0.1, 50.0, 1.0), (1.0, 0.5, 3.0)])
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
def test_equals_the_written_formula(space, weights):
    pred, target = case(*space)
    loss = MixedSupervisionLoss(*weights)(pred, target)
    torch.testing.assert_close(loss.item(), by_hand(pred, target, weights))


def test_the_supervision_may_be_a_list():
    pred, target = case(4, 4)
    as_list = {**target, "supervision": target["supervision"].tolist()}
    assert MixedSupervisionLoss()(pred, as_list) == MixedSupervisionLoss()(pred, target)


@pytest.mark.parametrize(
    ("argument", "term"),
    [("lambda_partial", "partial_ce"), ("lambda_kd", "kd"), ("lambda_entropy", "entropy")],
)
def test_each_weight_scales_its_term_and_zero_skips_it(argument, term):
    pred, target = case(4, 4)
    loss, without = MixedSupervisionLoss(**{argument: 7.0}), MixedSupervisionLoss(**{argument: 0.0})
    added = loss(pred, target) - without(pred, target)
    torch.testing.assert_close(added, 7 * loss.terms[term])
    assert set(loss.terms) - set(without.terms) == {term}


def test_the_terms_are_those_of_the_single_losses_and_hold_no_graph():
    pred, target = case(4, 4, kinds=[NONE, NONE])
    loss = MixedSupervisionLoss()
    loss(pred.requires_grad_(), target)
    teacher, student = pred[:, STRONG], pred[:, WEAK]
    torch.testing.assert_close(loss.terms["kd"], KLDivergenceLoss()(student, teacher).detach())
    torch.testing.assert_close(loss.terms["entropy"], ShannonEntropyLoss()(student).detach())
    assert not any(term.requires_grad for term in loss.terms.values())


def test_the_ramp_scales_distillation_and_entropy_only():
    pred, target = case(4, 4)
    loss = MixedSupervisionLoss()
    values = {}
    for loss.ramp in (0.0, 0.5, 1.0):
        values[loss.ramp] = loss(pred, target).item()
        assert set(loss.terms) == {"strong_ce", "partial_ce"} | ({"kd", "entropy"} if loss.ramp else set())
    plain = MixedSupervisionLoss(lambda_kd=0, lambda_entropy=0)(pred, target).item()
    assert values[0.0] == pytest.approx(plain)
    assert values[0.5] == pytest.approx((values[0.0] + values[1.0]) / 2)


def test_every_term_teaches_its_own_branch_when_the_teacher_is_detached():
    pred, target = case(4, 4, kinds=[FULL, PARTIAL])
    (gradient,) = torch.autograd.grad(MixedSupervisionLoss()(pred.requires_grad_(), target), pred)
    assert gradient[0, STRONG].ne(0).any()
    assert gradient[0, WEAK].eq(0).all()
    assert gradient[1, STRONG].eq(0).all()
    assert gradient[1, WEAK].ne(0).all()


def test_a_teacher_that_is_not_detached_moves_toward_the_student():
    pred, target = case(4, 4, kinds=[FULL, PARTIAL])
    loss = MixedSupervisionLoss(detach_teacher=False)
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    assert gradient[1, STRONG].ne(0).all()


@pytest.mark.parametrize("detach_teacher", [True, False])
def test_weak_images_reach_a_shared_encoder_through_the_student(detach_teacher):
    _, target = case(4, 4, kinds=[PARTIAL, NONE])
    encoder, strong, weak = nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 3, 1), nn.Conv2d(5, 3, 1)
    features = encoder(torch.randn(2, 1, 4, 4))
    loss = MixedSupervisionLoss(detach_teacher=detach_teacher)
    loss(torch.stack([strong(features), weak(features)], dim=1), target).backward()
    assert encoder.weight.grad.ne(0).any()
    assert weak.weight.grad.ne(0).any()
    assert strong.weight.grad.eq(0).all() == detach_teacher


@pytest.mark.parametrize("kind", [TAGS, NONE])
def test_the_label_of_an_item_without_a_map_is_not_read(kind):
    pred, target = case(4, 4, kinds=[kind, FULL])
    other = target["label"].clone()
    other[0] = 2
    assert MixedSupervisionLoss()(pred, {**target, "label": other}) == MixedSupervisionLoss()(pred, target)


def test_the_student_learns_from_masks_only_on_request():
    pred, target = case(4, 4)
    loss = MixedSupervisionLoss(student_on_strong=True)
    added = loss(pred, target) - MixedSupervisionLoss()(pred, target)
    strong = torch.tensor([kind in (FULL, NOISY) for kind in ALL_KINDS])
    expected = PartialCrossEntropyLoss()(pred[strong, WEAK], target["label"][strong])
    torch.testing.assert_close(added, expected)
    torch.testing.assert_close(loss.terms["student_strong_ce"], expected)


def test_a_pseudo_mask_replaces_the_divergence():
    pred, target = case(4, 4, kinds=[FULL, NONE])
    loss = MixedSupervisionLoss(coupling="pseudo_mask", detach_teacher=False)
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    pseudo_mask = pred[1:, STRONG].argmax(dim=1, keepdim=True)
    expected = PartialCrossEntropyLoss()(pred[1:, WEAK], pseudo_mask).detach()
    torch.testing.assert_close(loss.terms["kd"], expected)
    assert gradient[1, STRONG].eq(0).all()


def test_the_threshold_keeps_unsure_voxels_out_of_the_pseudo_mask():
    pred, target = case(4, 4, kinds=[NONE])
    loss = MixedSupervisionLoss(coupling="pseudo_mask", pseudo_mask_threshold=0.6, lambda_entropy=0)
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    sure = pred[0, STRONG].softmax(dim=0).amax(dim=0) >= 0.6
    assert 0 < sure.sum() < sure.numel()
    assert torch.equal(gradient[0, WEAK].ne(0).all(dim=0), sure)


def test_per_image_reduction_reaches_the_cross_entropies():
    pred, target = case(4, 4, kinds=[PARTIAL, PARTIAL])
    target["label"][0].fill_(UNLABELED)[..., :1, :1] = 0
    loss = MixedSupervisionLoss(reduction_per="image")
    loss(pred, target)
    expected = PartialCrossEntropyLoss(reduction_per="image")(pred[:, WEAK], target["label"])
    torch.testing.assert_close(loss.terms["partial_ce"], expected)


@pytest.mark.parametrize("coupling", ["kl", "pseudo_mask"])
@pytest.mark.parametrize("kinds", [[FULL, FULL], [NONE, TAGS], [PARTIAL, PARTIAL]])
def test_parts_over_an_empty_set_are_zero_and_differentiable(kinds, coupling):
    pred, target = case(4, 4, kinds=kinds)
    target["label"][:] = UNLABELED
    loss = MixedSupervisionLoss(coupling=coupling)
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    assert gradient.isfinite().all()
    assert loss.terms["strong_ce"] == loss.terms["partial_ce"] == 0
    if kinds[0] == FULL:
        assert loss.terms["kd"] == loss.terms["entropy"] == 0
        assert gradient.eq(0).all()


def test_gradient():
    pred, target = case(2, 2)
    loss = MixedSupervisionLoss(detach_teacher=False, student_on_strong=True)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), pred.requires_grad_())


@pytest.mark.parametrize("coupling", ["kl", "pseudo_mask"])
def test_extreme_logits_stay_finite(coupling):
    pred, target = case(4, 4)
    pred = (1e4 * pred.float().sign()).requires_grad_()
    value = MixedSupervisionLoss(coupling=coupling, detach_teacher=False)(pred, target)
    value.backward()
    assert value.isfinite()
    assert pred.grad.isfinite().all()


def test_bfloat16_logits_are_averaged_in_float32():
    pred, target = case(16, 16)
    value = MixedSupervisionLoss()(pred.bfloat16(), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, MixedSupervisionLoss()(pred.bfloat16().float(), target))


def after_training(**weights: float) -> Tensor:
    """Student probabilities of class 1 at 40 unlabeled voxels of two intensities, after 150 steps.

    The teacher knows that class 1 is bright. The student is a fresh 1 x 1 convolution that leans to 1.
    """
    image = torch.cat([torch.zeros(20), torch.ones(20)]).reshape(1, 1, 8, 5)
    target = {"label": torch.full((1, 1, 8, 5), UNLABELED), "supervision": torch.tensor([NONE])}
    teacher = torch.cat([1 - 2 * image, 2 * image - 1], dim=1)
    student = nn.Conv2d(1, 2, 1)
    with torch.no_grad():
        student.weight.copy_(torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1))
        student.bias.copy_(torch.tensor([0.0, 0.1]))
    optimizer = torch.optim.Adam(student.parameters(), lr=0.1)
    loss = MixedSupervisionLoss(**weights)
    for _ in range(150):
        optimizer.zero_grad()
        loss(torch.stack([teacher, student(image)], dim=1), target).backward()
        optimizer.step()
    return student(image).softmax(dim=1)[0, 1].flatten().detach()


def test_entropy_alone_collapses_to_one_class():
    assert (after_training(lambda_kd=0.0, lambda_entropy=1.0) > 0.95).all()


def test_entropy_with_distillation_finds_both_classes_and_is_surer_than_the_teacher():
    dark, bright = after_training(lambda_kd=5.0, lambda_entropy=1.0).chunk(2)
    teacher = torch.tensor(2.0).sigmoid()
    assert (bright > teacher + 0.01).all()
    assert (dark < 1 - teacher - 0.01).all()


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 3, 4, 4), (2, 2, 3)])
def test_says_that_two_branches_are_due(shape):
    _, target = case(4, 4, kinds=[FULL, NONE])
    with pytest.raises(ValueError, match=r"Expected pred \(B, 2, K, \*S\).*got \(2, .*two-branch network"):
        MixedSupervisionLoss()(torch.zeros(shape), target)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"label": torch.zeros(3, 1, 4, 4).long()},
            ValueError,
            r"equal B and S, got \(2, 3, 4, 4\) and \(3, 1",
        ),
        ({"label": torch.zeros(2, 1, 4, 4)}, TypeError, r"got torch\.float32"),
        ({"supervision": torch.zeros(3)}, ValueError, r"B = 2, got \(3,\)"),
    ],
)
def test_says_what_is_wrong_with_the_target(change, error, message):
    pred, target = case(4, 4, kinds=[FULL, NONE])
    with pytest.raises(error, match=message):
        MixedSupervisionLoss()(pred, {**target, **change})


def test_says_which_part_of_the_target_is_missing():
    pred, target = case(4, 4)
    with pytest.raises(ValueError, match=r"got \['label'\]; add \['supervision'\] in prepare_batch"):
        MixedSupervisionLoss()(pred, {"label": target["label"]})
    with pytest.raises(TypeError, match="got Tensor; give the trainer a prepare_batch"):
        MixedSupervisionLoss()(pred, target["label"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_partial": -1}, "lambda_entropy >= 0, got -1"),
        ({"lambda_kd": -1}, "lambda_entropy >= 0, got 1.0, -1"),
        ({"lambda_entropy": -1}, "lambda_entropy >= 0, got 1.0, 5.0 and -1"),
        ({"coupling": "mse"}, "'kl' or 'pseudo_mask', got 'mse'"),
        ({"pseudo_mask_threshold": 1.0}, r"in \[0, 1\), got 1.0"),
        ({"reduction_per": "voxel"}, "'batch' or 'image', got 'voxel'"),
    ],
)
def test_says_which_argument_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedSupervisionLoss(**arguments)
