import pytest
import torch
from monai.data import MetaTensor

from monai_ext.keys import PRED
from monai_ext.transforms.branches import ClassProbabilityd, SplitBranchesd


def test_each_output_gets_its_name():
    logits = torch.rand(2, 3, 4, 5).half()
    item = {PRED: logits, "other": 1}
    result = SplitBranchesd(PRED, ["teacher", PRED])(item)
    assert torch.equal(result["teacher"], logits[0]) and torch.equal(result[PRED], logits[1])
    assert result["other"] == 1 and result["teacher"].dtype == torch.float16
    assert item.keys() == {PRED, "other"} and item[PRED] is logits


def test_the_stack_stays_if_its_key_is_not_among_the_names():
    result = SplitBranchesd(PRED, ["a", "b", "c"])({PRED: torch.rand(3, 2)})
    assert result.keys() == {PRED, "a", "b", "c"} and result[PRED].shape == (3, 2)


@pytest.mark.parametrize("outputs", [1, 3])
def test_says_how_many_outputs_are_named(outputs):
    with pytest.raises(
        ValueError, match=rf"Expected 2 outputs under 'pred' .* got shape \({outputs}, 4, 4\)"
    ):
        SplitBranchesd(PRED, ["teacher", "student"])({PRED: torch.zeros(outputs, 4, 4)})


def test_a_missing_key_is_named():
    with pytest.raises(KeyError, match=PRED):
        SplitBranchesd(PRED, ["a"])({})


@pytest.mark.parametrize("index", [0, 2])
def test_the_map_of_a_class_is_its_softmax_probability(index):
    logits = torch.randn(3, 4, 5, 2, generator=torch.Generator().manual_seed(0))
    found = ClassProbabilityd(PRED, index)({PRED: logits})[PRED]
    assert isinstance(found, MetaTensor) and found.shape == (1, 4, 5, 2)
    by_hand = logits.exp()[index] / logits.exp().sum(dim=0)
    torch.testing.assert_close(found.as_tensor()[0], by_hand)
