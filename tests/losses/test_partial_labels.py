import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_ext.keys import UNLABELED
from monai_ext.losses import PartialCrossEntropyLoss


def by_hand(logits: Tensor, label: Tensor, weight: list[float], per: str) -> float:
    """The formula as written: loops over image and voxel, no broadcasting."""
    sums = []
    for z, y in zip(logits.numpy(), label[:, 0].numpy(), strict=True):
        loss = share = 0.0
        for r in np.ndindex(y.shape):
            if y[r] != 255:
                scores = z[(slice(None), *r)]
                loss -= weight[y[r]] * np.log(np.exp(scores[y[r]]) / np.exp(scores).sum())
                share += weight[y[r]]
        sums.append((loss, share))
    if per == "image":
        return float(np.mean([loss / share for loss, share in sums if share]))
    return sum(loss for loss, _ in sums) / sum(share for _, share in sums)


def case(*space: int, classes: int = 3, batch: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and a label in which half of the voxels, and all of the last image, are unlabeled."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (batch, 1, *space), generator=g)
    label[torch.rand(label.shape, generator=g) < 0.5] = UNLABELED
    label[-1] = UNLABELED
    return torch.randn(batch, classes, *space, generator=g, dtype=torch.float64), label


@pytest.mark.parametrize("per", ["batch", "image"])
@pytest.mark.parametrize("weight", [[1.0, 1.0, 1.0], [0.2, 3.0, 1.0]], ids=["equal", "weighted"])
@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])
def test_equals_the_written_formula(space, weight, per):
    logits, label = case(*space)
    loss = PartialCrossEntropyLoss(weight, reduction_per=per)(logits, label)
    torch.testing.assert_close(loss.item(), by_hand(logits, label, torch.tensor(weight).tolist(), per))


@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0]])
def test_equals_torch_where_all_voxels_are_labeled(weight):
    logits, label = case(4, 4)
    label = label.remainder(3)
    expected = F.cross_entropy(logits, label[:, 0], weight and torch.tensor(weight).double())
    torch.testing.assert_close(PartialCrossEntropyLoss(weight)(logits, label), expected)


@given(st.integers(0, 10_000), st.floats(-50, 50), st.sampled_from(["batch", "image"]))
@settings(max_examples=25, deadline=None)
def test_unlabeled_voxels_have_no_value_and_no_gradient(seed, offset, per):
    logits, label = case(4, 4, seed=seed)
    loss, unlabeled = PartialCrossEntropyLoss(reduction_per=per), label == UNLABELED
    noise = torch.zeros_like(logits)
    noise[:, :1] = offset
    moved = (logits + noise * unlabeled).requires_grad_()
    torch.testing.assert_close(loss(moved, label), loss(logits, label))
    (gradient,) = torch.autograd.grad(loss(moved, label), moved)
    assert gradient.masked_select(unlabeled).eq(0).all()
    assert gradient.masked_select(~unlabeled).ne(0).any()


@pytest.mark.parametrize("per", ["batch", "image"])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e38])
def test_no_labeled_voxel_gives_zero_with_a_zero_gradient(per, scale):
    logits = (scale * torch.rand(2, 3, 4, 4)).requires_grad_()  # at 1e38 their sum is infinite
    loss = PartialCrossEntropyLoss(reduction_per=per)(logits, torch.full((2, 1, 4, 4), UNLABELED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_a_class_of_weight_zero_counts_as_unlabeled():
    logits, label = case(4, 4)
    without = label.masked_fill(label == 1, UNLABELED)
    expected = PartialCrossEntropyLoss()(logits, without)
    torch.testing.assert_close(PartialCrossEntropyLoss([1, 0, 1])(logits, label), expected)


def test_an_image_with_few_labels_counts_fully_only_per_image():
    logits = torch.zeros(2, 2, 2, 2)
    logits[1, 0] = 50  # the second image is right at its only labeled voxel
    label = torch.zeros(2, 1, 2, 2, dtype=torch.long)
    label[1, 0].fill_(UNLABELED)[0, 0] = 0
    log2 = np.log(2)
    assert PartialCrossEntropyLoss()(logits, label).item() == pytest.approx(4 / 5 * log2)
    assert PartialCrossEntropyLoss(reduction_per="image")(logits, label).item() == pytest.approx(log2 / 2)


@pytest.mark.parametrize("per", ["batch", "image"])
def test_gradient(per):
    logits, label = case(3, 3)
    loss = PartialCrossEntropyLoss([1.0, 2.0, 0.5], reduction_per=per)
    assert torch.autograd.gradcheck(lambda z: loss(z, label), logits.requires_grad_())


def test_extreme_logits_stay_finite():
    logits = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1).requires_grad_()
    loss = PartialCrossEntropyLoss()(logits, torch.ones(1, 1, 1, 1, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 2e4
    assert logits.grad.flatten().tolist() == [1, -1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_averaged_in_float32(dtype):
    logits = torch.randn(2, 3, 64, 64).to(dtype)
    label = torch.randint(0, 3, (2, 1, 64, 64))
    loss = PartialCrossEntropyLoss()(logits, label)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, PartialCrossEntropyLoss()(logits.float(), label))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_compact_labels_say_the_same(dtype):
    logits, label = case(4, 4)
    loss = PartialCrossEntropyLoss()
    assert loss(logits, label.to(dtype)) == loss(logits, label)


def test_weights_are_not_part_of_the_checkpoint():
    assert not PartialCrossEntropyLoss([1.0, 2.0]).state_dict()


@pytest.mark.parametrize("shape", [(2, 4, 4), (3, 1, 4, 4), (2, 1, 4, 5), (2, 3, 4, 4)])
def test_says_which_shapes_disagree(shape):
    with pytest.raises(ValueError, match=r"equal B and S, got \(2, 3, 4, 4\) and \("):
        PartialCrossEntropyLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.int8])
def test_says_that_the_label_must_hold_integers_up_to_255(dtype):
    with pytest.raises(TypeError, match=r"uint8, int16, int32 or int64, got torch\..*label\.long\(\)"):
        PartialCrossEntropyLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=dtype))


def test_says_which_label_values_are_no_class():
    label = torch.tensor([0, 7, -1, 255]).reshape(1, 1, 2, 2)
    with pytest.raises(ValueError, match=r"Expected labels 0 to 1 or 255 .*got \[-1, 7\]"):
        PartialCrossEntropyLoss()(torch.zeros(1, 2, 2, 2), label)


def test_says_that_255_cannot_be_a_class():
    with pytest.raises(ValueError, match="at most 255 classes, got 256"):
        PartialCrossEntropyLoss()(torch.zeros(1, 256, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": [1.0, -1.0]}, r"weights >= 0, got \[1.0, -1.0\]"),
        ({"reduction_per": "voxel"}, "'batch' or 'image', got 'voxel'"),
    ],
)
def test_says_which_argument_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        PartialCrossEntropyLoss(**arguments)


def test_says_how_many_weights_are_due():
    with pytest.raises(ValueError, match="one weight a class, 3 for these logits, got 2"):
        PartialCrossEntropyLoss([1.0, 1.0])(
            torch.zeros(1, 3, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.long)
        )
