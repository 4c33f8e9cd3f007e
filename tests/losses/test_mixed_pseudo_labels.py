import numpy as np
import pytest
import torch
from torch import Tensor

from monai_ext.keys import UNLABELED, Supervision
from monai_ext.losses import MixedPseudoLabelLoss, PartialCrossEntropyLoss

FULL, PARTIAL, TAGS, NOISY, NONE = (kind.code for kind in Supervision)
ALL_KINDS = [FULL, PARTIAL, TAGS, NOISY, NONE]
SMOOTH = 1e-5


def case(*space: int, kinds: list[int] = ALL_KINDS, classes: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of two branches, and labels in which about half of the voxels are unlabeled."""
    g = torch.Generator().manual_seed(0)
    batch = len(kinds)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.5] = UNLABELED
    pred = torch.randn(batch, 2, classes, *space, generator=g, dtype=torch.float64)
    return pred, {"label": label, "supervision": torch.tensor(kinds)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dice_by_hand(p: np.ndarray, other: np.ndarray, beta: float) -> float:
    """Dice of p (B, K, *S) and the arg-max of its mixture with the other: loops over class and voxel."""
    loss = 0.0
    for k in range(p.shape[1]):
        both = prob = mask = 0.0
        for item, *r in np.ndindex(p.shape[0], *p.shape[2:]):
            mixture = [beta * p[(item, j, *r)] + (1 - beta) * other[(item, j, *r)] for j in range(p.shape[1])]
            hit = float(np.argmax(mixture) == k)
            both += p[(item, k, *r)] * hit
            prob += p[(item, k, *r)] ** 2
            mask += hit
        loss += 1 - (2 * both + SMOOTH) / (prob + mask + SMOOTH)
    return loss / p.shape[1]


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
@pytest.mark.parametrize("lambda_pseudo", [0.5, 2.0])
def test_equals_the_written_formula(space, lambda_pseudo):
    pred, target = case(*space)
    loss = MixedPseudoLabelLoss(lambda_pseudo, generator=seeded())(pred, target)

    beta = torch.rand((), generator=seeded()).item()
    p1, p2 = pred.softmax(dim=2).numpy().swapaxes(0, 1)
    expected = lambda_pseudo * (dice_by_hand(p1, p2, beta) + dice_by_hand(p2, p1, 1 - beta)) / 2
    voxels = [
        -(np.log(p1[(item, y, *r)]) + np.log(p2[(item, y, *r)])) / 2
        for item, kind in enumerate(ALL_KINDS)
        if kind in (FULL, NOISY, PARTIAL)
        for r in np.ndindex(*space)
        if (y := target["label"][(item, 0, *r)].item()) != UNLABELED
    ]
    torch.testing.assert_close(loss.item(), float(expected + np.mean(voxels)))


def test_both_branches_learn_from_every_label_alike():
    pred, target = case(4, 4, kinds=[FULL, PARTIAL])
    loss = MixedPseudoLabelLoss(lambda_pseudo=0)
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    expected = sum(PartialCrossEntropyLoss()(pred[:, i], target["label"]) for i in range(2)) / 2
    torch.testing.assert_close(loss.terms["partial_ce"], expected.detach())
    labeled = (target["label"] != UNLABELED).unsqueeze(1).expand_as(pred)
    assert torch.equal(gradient.ne(0), labeled)


@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_the_ramp_and_the_weight_scale_the_pseudo_label_term(ramp):
    pred, target = case(4, 4)
    loss = MixedPseudoLabelLoss(lambda_pseudo=3.0, generator=seeded())
    loss.ramp = ramp
    value = loss(pred, target)
    assert set(loss.terms) == {"partial_ce"} | ({"pseudo_dice"} if ramp else set())
    torch.testing.assert_close(value, loss.terms["partial_ce"] + 3 * ramp * loss.terms.get("pseudo_dice", 0))


def test_the_mixture_is_drawn_anew_at_each_call_and_from_its_generator():
    pred, target = case(8, 8)
    values = [MixedPseudoLabelLoss(generator=seeded(seed))(pred, target).item() for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    loss = MixedPseudoLabelLoss()
    assert len({loss(pred, target).item() for _ in range(5)}) > 1


def test_the_global_seed_decides_without_a_generator():
    pred, target = case(8, 8)
    values = []
    for _ in range(2):
        torch.manual_seed(3)
        values.append(MixedPseudoLabelLoss()(pred, target).item())
    assert values[0] == values[1]


@pytest.mark.parametrize("kind", [TAGS, NONE])
def test_the_label_of_an_item_without_a_map_is_not_read(kind):
    pred, target = case(4, 4, kinds=[kind, FULL])
    other = target["label"].clone()
    other[0] = 2
    values = [
        MixedPseudoLabelLoss(generator=seeded())(pred, {**target, "label": y})
        for y in (other, target["label"])
    ]
    assert values[0] == values[1]


def test_an_unlabeled_batch_has_only_the_pseudo_label_term():
    pred, target = case(4, 4, kinds=[PARTIAL, NONE])
    target["label"][:] = UNLABELED
    loss = MixedPseudoLabelLoss()
    (gradient,) = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)
    assert loss.terms["partial_ce"] == 0
    assert gradient.isfinite().all()
    assert gradient.ne(0).any()


def test_gradient():
    pred, target = case(2, 2)
    assert torch.autograd.gradcheck(
        lambda z: MixedPseudoLabelLoss(generator=seeded())(z, target), pred.requires_grad_()
    )


def test_extreme_logits_and_absent_classes_stay_finite():
    pred, target = case(4, 4)
    pred = torch.zeros_like(pred, dtype=torch.float32)
    pred[:, :, 0] = 1e4  # nobody predicts classes 1 and 2
    value = MixedPseudoLabelLoss()(pred.requires_grad_(), target)
    value.backward()
    assert value.isfinite()
    assert pred.grad.isfinite().all()


def test_bfloat16_logits_are_averaged_in_float32():
    pred, target = case(16, 16)
    half, single = (
        MixedPseudoLabelLoss(generator=seeded())(z, target)
        for z in (pred.bfloat16(), pred.bfloat16().float())
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single)


def test_a_few_steps_spread_two_scribbles_over_the_object():
    image = torch.cat([torch.zeros(32), torch.ones(32)]).reshape(1, 1, 8, 8)
    label = torch.full((1, 1, 8, 8), UNLABELED)
    label[..., 0, 0], label[..., 7, 7] = 0, 1
    target = {"label": label, "supervision": torch.tensor([PARTIAL])}
    branches = torch.nn.Conv2d(1, 4, 1)
    optimizer = torch.optim.Adam(branches.parameters(), lr=0.2)
    loss = MixedPseudoLabelLoss()
    for _ in range(60):
        optimizer.zero_grad()
        loss(branches(image).reshape(1, 2, 2, 8, 8), target).backward()
        optimizer.step()
    found = branches(image).reshape(2, 2, 8, 8).argmax(dim=1)
    assert torch.equal(found, image[0].long().expand_as(found))
    assert loss.terms["pseudo_dice"] < 0.05


def test_says_which_argument_is_wrong():
    with pytest.raises(ValueError, match="lambda_pseudo >= 0, got -1"):
        MixedPseudoLabelLoss(-1)


def test_says_that_two_branches_are_due():
    _, target = case(4, 4, kinds=[FULL])
    with pytest.raises(ValueError, match=r"Expected pred \(B, 2, K, \*S\).*got \(1, 3, 4, 4\)"):
        MixedPseudoLabelLoss()(torch.zeros(1, 3, 4, 4), target)
