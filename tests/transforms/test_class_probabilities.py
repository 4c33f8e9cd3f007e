import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Resized

from monai_ext.transforms import ClassesInOriginalSpaced, ProbabilitiesInOriginalSpaced


@pytest.fixture
def item():
    """A preprocessed image, and the function that its logits are added by."""
    preprocessing = Compose([Flipd("image", 0), Resized("image", [8, 8, -1])])
    image = MetaTensor(torch.rand(1, 12, 10, 3), affine=torch.eye(4))
    return preprocessing, preprocessing({"image": image})


def test_nothing_is_computed_where_they_are_not_wanted(item):
    preprocessing, data = item
    data["pred"] = torch.rand(3, 8, 8, 3)
    for wanted in (False, "false", "no", "0"):
        found = ProbabilitiesInOriginalSpaced("pred", preprocessing, wanted)(data)
        assert set(found) == {"image", "pred"} and found["pred"] is data["pred"]


@pytest.mark.parametrize("wanted", [True, "true", "yes"])
def test_the_largest_one_is_the_mask_on_the_grid_of_the_file(item, wanted):
    preprocessing, data = item
    data["pred"] = MetaTensor(3 * torch.randn(3, 8, 8, 3))
    found = ProbabilitiesInOriginalSpaced("pred", preprocessing, wanted)(data)
    assert found["pred"] is data["pred"] and found["pred_prob"].shape == (3, 12, 10, 3)
    torch.testing.assert_close(found["pred_prob"].sum(0).as_tensor(), torch.ones(12, 10, 3))
    classes = ClassesInOriginalSpaced("pred", preprocessing)(found)["pred"]
    np.testing.assert_array_equal(found["pred_prob"].argmax(0), classes[0])


def test_a_map_is_the_probability_of_the_object(item):
    preprocessing, data = item
    data["pred"] = torch.full((1, 8, 8, 3), 0.25)
    found = ProbabilitiesInOriginalSpaced("pred", preprocessing, True)(data)["pred_prob"]
    torch.testing.assert_close(found[:, 0, 0, 0].as_tensor(), torch.tensor([0.75, 0.25]))


def test_another_word_is_refused(item):
    with pytest.raises(ValueError, match="perhaps"):
        ProbabilitiesInOriginalSpaced("pred", item[0], "perhaps")
