import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ext.cams import (
    activation,
    by_modality,
    channel_that_is_there,
    keep_component,
    peak_of,
    pool_scores,
    scale_to_unit_norm,
    scale_to_unit_range,
)


def maps(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("space", [(3, 5), (3, 5, 2)], ids=["slices", "volume"])
def test_channels_are_background_and_object_of_each_modality(space):
    scores = maps(2, 6, *space)
    split = by_modality(scores)
    assert split.shape == (2, 3, 2, *space)
    for modality in range(3):
        for k in range(2):
            assert torch.equal(split[:, modality, k], scores[:, 2 * modality + k])


def test_pooling_all_positions_is_the_mean_of_the_map():
    scores = maps(2, 3, 4, 5)
    torch.testing.assert_close(pool_scores(scores, 1), scores.mean(dim=(2, 3)))


@pytest.mark.parametrize("share", [0.01, 0.25, 0.3, 0.99, 1.0])
def test_a_score_is_the_mean_of_the_highest_values_by_hand(share):
    scores = maps(2, 3, 4, 5)
    found = pool_scores(scores, share)
    for where in np.ndindex(2, 3):
        highest = sorted(scores[where].flatten().tolist(), reverse=True)[: math.ceil(share * 20)]
        assert found[where].item() == pytest.approx(sum(highest) / len(highest))


def test_only_the_highest_values_have_a_gradient():
    scores = maps(1, 4, 5).requires_grad_()
    pool_scores(scores, 0.25).sum().backward()
    assert (scores.grad == 1 / 5).sum() == 5 and (scores.grad == 0).sum() == 15
    assert scores.detach()[scores.grad > 0].min() > scores.detach()[scores.grad == 0].max()


def test_an_activation_map_is_the_positive_part_of_the_map_of_the_object():
    scores = maps(2, 4, 3, 5)
    cam = activation(scores)
    assert cam.shape == (2, 2, 3, 5)
    torch.testing.assert_close(cam[:, 0], scores[:, 1].clamp_min(0), rtol=0, atol=0)
    torch.testing.assert_close(cam[:, 1], scores[:, 3].clamp_min(0), rtol=0, atol=0)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(0, 100))
@settings(max_examples=30, deadline=None)
def test_the_unit_range_is_reached_whatever_scale_and_offset(seed, scale, offset):
    cam = maps(2, 3, 4, 5, seed=seed)
    scaled = scale_to_unit_range(cam)
    assert scaled.min() >= 0 and scaled.max() <= 1
    torch.testing.assert_close(scaled.amin(dim=(2, 3)), torch.zeros(2, 3).double())
    torch.testing.assert_close(scaled.amax(dim=(2, 3)), torch.ones(2, 3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(scale_to_unit_range(scale * cam + offset), scaled, atol=1e-4, rtol=0)


def test_the_unit_range_by_hand():
    cam = maps(3, 4, 5)
    found = scale_to_unit_range(cam)
    for n, y, x in np.ndindex(3, 4, 5):
        low, high, value = cam[n].min().item(), cam[n].max().item(), cam[n, y, x].item()
        assert found[n, y, x].item() == pytest.approx(max(0, value - low - 1e-8) / (high - low + 1e-8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 700.0])
@pytest.mark.parametrize("scaled", [scale_to_unit_range, scale_to_unit_norm])
def test_a_constant_map_gives_finite_values_and_gradients(scaled, value, dtype):
    cam = torch.full((1, 2, 4, 5), value, dtype=dtype, requires_grad=True)
    result = scaled(cam)
    result.square().sum().backward()
    expected = 0 if scaled is scale_to_unit_range or value == 0 else 20**-0.5
    torch.testing.assert_close(result.detach(), torch.full_like(result, expected))
    assert cam.grad.isfinite().all()


def test_the_unit_norm_is_the_length_of_each_map_for_itself():
    cam = maps(2, 3, 4, 5) * torch.tensor([1e-3, 1, 1e3])[:, None, None]
    scaled = scale_to_unit_norm(cam)
    for where in np.ndindex(2, 3):
        np.testing.assert_allclose(scaled[where], cam[where] / np.linalg.norm(cam[where]), rtol=1e-12)


@pytest.mark.parametrize("scaled", [scale_to_unit_range, scale_to_unit_norm])
def test_scaling_has_the_gradient_of_its_equation(scaled):
    assert torch.autograd.gradcheck(scaled, maps(2, 3, 3).abs().requires_grad_())


def two_parts():
    """A mask of a part of 4 and one of 3 voxels that touch by nothing, the larger at voxel 0."""
    mask = torch.zeros(2, 3, 4)
    mask[0, 0, :4] = 1
    mask[1, 2, :3] = 1
    return mask


@pytest.mark.parametrize(("which", "peak", "left"), [("largest", 23, 4), ("all", 23, 7), ("highest", 20, 3)])
def test_one_part_of_a_mask_is_kept(which, peak, left):
    mask = two_parts()
    kept = keep_component(mask, which, peak)
    assert kept.sum() == left and kept.dtype == mask.dtype
    assert (kept <= mask).all() and (which == "largest") <= bool(kept[0, 0, 0])


def test_parts_that_touch_by_a_corner_are_one():
    mask = torch.zeros(2, 2, 2)
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    assert torch.equal(keep_component(mask, "highest", 7), mask)


def test_nothing_is_left_of_a_mask_without_its_peak():
    assert not keep_component(two_parts(), "highest", 23).any()
    assert not keep_component(torch.zeros(2, 2), "largest").any()


def test_another_word_for_a_component_is_refused():
    with pytest.raises(ValueError, match="Expected component highest, largest or all, got 'first'"):
        keep_component(two_parts(), "first")


def test_of_several_highest_parts_the_largest_holds_the_peak():
    cam = torch.zeros(1, 6, 6)
    cam[0, 0, 0] = cam[0, 3:5, 3:5] = 0.7
    assert peak_of(cam) == 3 * 6 + 3
    cam[0, 0, 0] = 0.8
    assert peak_of(cam) == 0


def test_a_constant_channel_is_replaced_by_one_that_is_there():
    image = np.zeros((3, 2, 2))
    assert channel_that_is_there(image, 1) == 1
    image[2, 0] = 1
    assert [channel_that_is_there(image, wanted) for wanted in range(3)] == [2, 2, 2]
    with pytest.raises(ValueError, match="Expected a channel from 0 to 2, got 3; set edges"):
        channel_that_is_there(image, 3)
