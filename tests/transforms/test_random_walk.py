import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage.segmentation import random_walker

from monai_ext.transforms import RandomWalkd

SIZE = 24


def square(low=6, high=15, depth=2):
    """Image (1, H, W, D) of a bright square, and a coarse map (1, H, W, D) that is highest at its center."""
    image = torch.zeros(1, SIZE, SIZE, depth)
    image[:, low:high, low:high] = 1
    rows = torch.arange(SIZE, dtype=torch.float32) - (low + high - 1) / 2
    bell = torch.exp(-(rows[:, None] ** 2 + rows[None] ** 2) / 50)
    return image, bell[None, :, :, None].repeat(1, 1, 1, depth)


def walk(image, cam, **options):
    given = {"smoothing": 0, "across_slices": 0, "seeds": [(0.25, 0.85)], **options}
    return RandomWalkd("pred", **given)({"image": image, "pred": cam})["pred"]


def test_a_coarse_map_takes_the_shape_of_the_object():
    image, cam = square()
    found = walk(image, cam) > 0.5
    assert torch.equal(found, image > 0)
    assert not torch.equal(cam > 0.5, image > 0)


def test_the_probability_is_that_of_scikit_image():
    image, cam = square(depth=1)
    image = image + 0.1 * torch.rand(image.shape)
    seeds = np.where(cam[0, ..., 0] < 0.3 * cam.max(), 1, np.where(cam[0, ..., 0] > 0.8 * cam.max(), 2, 0))
    wanted = random_walker(
        (image / image.std(correction=0))[0, ..., 0].double().numpy(),
        seeds,
        beta=50,
        mode="bf",
        return_full_prob=True,
    )[1]
    found = walk(image, cam, seeds=[(0.3, 0.8)], beta=50)
    np.testing.assert_allclose(found[0, ..., 0], wanted, atol=0.02)


def test_each_slice_is_measured_by_its_own_largest_value():
    image, cam = square()
    dark = cam.clone()
    dark[..., 1] *= 0.01
    torch.testing.assert_close(walk(image, dark), walk(image, cam))


def test_a_slice_in_which_the_map_is_0_stays_0():
    image, cam = square()
    cam[..., 1] = 0
    found = walk(image, cam)
    assert found[..., 0].any() and not found[..., 1].any()


@pytest.mark.parametrize(("missing", "used"), [(0, 1), (1, 0)])
def test_another_channel_helps_out_where_the_chosen_one_is_missing(missing, used):
    image, cam = square()
    both = torch.zeros(2, *image.shape[1:])
    both[used] = image[0]
    torch.testing.assert_close(walk(both, cam, channel=missing), walk(image, cam))


def test_a_map_without_background_is_all_object():
    image, _ = square()
    assert (walk(image, torch.ones_like(image)) == 1).all()


def test_a_map_of_seeds_only_keeps_them():
    image, _ = square()
    np.testing.assert_array_equal(walk(image, image), image)


def test_of_an_image_without_an_edge_the_seeds_are_kept():
    image, cam = square()
    np.testing.assert_array_equal(walk(torch.zeros_like(image), cam), cam > 0.85 * cam.max())


def test_contrast_and_brightness_of_the_image_do_not_matter():
    image, cam = square()
    image = image + 0.1 * torch.rand(image.shape)
    torch.testing.assert_close(walk(image / 8 + 3, cam), walk(image, cam), atol=1e-3, rtol=0)


def test_larger_beta_keeps_closer_to_the_edges():
    image, cam = square()
    image = image + 0.2 * torch.rand(image.shape)
    inside = [float(walk(image, cam, beta=beta)[:, 6:15, 6:15].mean()) for beta in (1, 100)]
    assert inside[1] > inside[0]


def test_the_input_is_left_as_it_was_and_the_result_can_be_inverted():
    image, cam = square()
    before = cam.clone()
    assert isinstance(walk(image, cam), MetaTensor) and torch.equal(cam, before)


def test_several_pairs_of_seeds_are_averaged():
    image, cam = square()
    image = image + 0.1 * torch.rand(image.shape)
    pairs = [(0.2, 0.9), (0.4, 0.6)]
    alone = [walk(image, cam, seeds=[pair]) for pair in pairs]
    assert not torch.equal(*alone)
    torch.testing.assert_close(walk(image, cam, seeds=pairs), (alone[0] + alone[1]) / 2)


def test_without_seeds_the_map_stays_as_it_is():
    image, cam = square()
    assert walk(image, cam, seeds=[]) is cam


def test_a_slice_that_is_half_as_bright_counts_a_quarter_with_power_2():
    image, cam = square()
    cam[..., 1] /= 2
    alike, weighted = walk(image, cam), walk(image, cam, slice_power=2)
    torch.testing.assert_close(weighted[..., 0], alike[..., 0])
    torch.testing.assert_close(weighted[..., 1], alike[..., 1] / 4)


def test_a_slice_that_the_map_missed_takes_the_place_from_its_neighbors():
    image, cam = square(depth=3)
    cam[..., 1] = 0
    assert not walk(image, cam)[..., 1].any()
    found = walk(image, cam, across_slices=1)
    torch.testing.assert_close(found[..., 1], found[..., 0])


def test_slices_without_the_tag_become_0():
    image, cam = square(depth=3)
    data = {"image": image, "pred": cam, "tags": torch.tensor([[1, 0, 255]])}
    found = RandomWalkd("pred", tags_key="tags")(data)["pred"]
    assert [bool(found[..., z].any()) for z in range(3)] == [True, False, True]
    torch.testing.assert_close(found[..., 0], RandomWalkd("pred")(data)["pred"][..., 0])


def test_a_map_of_0_stays_0():
    image, cam = square()
    assert not walk(image, torch.zeros_like(cam), slice_power=2).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [(0.9, 0.85)]}, r"Expected seeds as pairs 0 <= a < b < 1, got \[\(0.9, 0.85\)\]"),
        ({"seeds": [(0.2, 1.0)]}, r"got \[\(0.2, 1.0\)\]"),
        ({"seeds": [[0.2]]}, "Expected seeds as pairs"),
        ({"beta": 0}, "Expected beta > 0, and smoothing, .* got 0, 0.7, 1.0 and 0.0"),
        ({"smoothing": -1}, "got 3000.0, -1, 1.0 and 0.0"),
        ({"slice_power": -1}, "got 3000.0, 0.7, 1.0 and -1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RandomWalkd("pred", **options)
