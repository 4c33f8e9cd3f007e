import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from monai_ext.keys import IMAGE, LABEL, UNLABELED
from monai_ext.transforms import BatchAugmentation, RandomSpatialView, SpatialView
from monai_ext.transforms.spatial_views import KINDS


def image(*shape, dtype=torch.float64):
    return torch.rand(shape or (3, 2, 8, 12), generator=torch.Generator().manual_seed(1), dtype=dtype)


def drawn(kind, seed=0, batch=3):
    return RandomSpatialView([kind])(batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flip_is_that_of_numpy(axis):
    view = SpatialView("flip", axis=axis)
    assert np.array_equal(view(image()), np.flip(image().numpy(), 2 + axis))


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy_and_exchange_the_axes(turns):
    view = SpatialView("quarter_turn", turns=turns)
    assert np.array_equal(view(image()), np.rot90(image().numpy(), turns, (2, 3)))
    size = (8, 12) if turns == 2 else (12, 8)
    assert view.valid(image()).shape == (3, 1, *size) and view.valid(image()).all()


@pytest.mark.parametrize("kind", ["translation", "scale", "rotation"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_valid_pixel_is_interpolated_as_in_scipy(kind, seed):
    view, before = drawn(kind, seed), image()
    after, valid = view(before), view.valid(before)
    size = np.array([8, 12])
    assert (valid.any() and not valid.all()) or kind == "scale"
    for b, modality in np.ndindex(3, 2):
        matrix = view.matrix.expand(3, -1, -1)[b].double().numpy()
        shift = view.shift.expand(3, -1)[b].double().numpy() * size
        center = (size - 1) / 2
        offset = center - matrix @ center + shift
        expected = affine_transform(before[b, modality], matrix, offset, order=1, mode="nearest")
        inside = valid[b, 0].numpy()
        np.testing.assert_allclose(after[b, modality].numpy()[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("rows", [-3, 2])
def test_a_shift_by_whole_pixels_moves_them_and_says_where_there_is_nothing(rows):
    view, before = SpatialView("translation", shift=torch.tensor([[rows / 8, 0.0]])), image()
    after, valid = view(before), view.valid(before)
    for row in range(8):
        inside = 0 <= row + rows < 8
        assert valid[:, :, row].all() if inside else not valid[:, :, row].any()
        expected = before[:, :, row + rows] if inside else torch.zeros(3, 2, 12, dtype=torch.float64)
        torch.testing.assert_close(after[:, :, row], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_outside_is_0_and_has_no_part_in_what_is_valid(kind, seed):
    view = drawn(kind, seed)
    after, valid = view(torch.ones(3, 2, 8, 12)), view.valid(torch.ones(3, 2, 8, 12))
    torch.testing.assert_close(after, valid.float().expand_as(after))


@pytest.mark.parametrize("kind", KINDS)
def test_changing_stacked_modalities_is_stacking_the_changed_ones(kind):
    view, before = drawn(kind), image()
    parts = torch.cat([view(before[:, m : m + 1]) for m in (0, 1)], dim=1)
    torch.testing.assert_close(view(before), parts, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_identical_checkerboards_stay_identical_in_all_modalities(kind):
    board = (torch.arange(16)[:, None] // 2 + torch.arange(16) // 2) % 2
    after = drawn(kind)(board.float().expand(3, 4, 16, 16))
    assert after.std() > 0.1
    torch.testing.assert_close(after, after[:, :1].expand_as(after), rtol=0, atol=0)


def augmented_checkerboards(space, **intensities):
    """Three items, each the same board in four modalities and in its label, before and after augmentation."""
    board = (sum(torch.meshgrid(*[torch.arange(n) // 8 for n in space], indexing="ij")) % 2)[None, None]
    batch = {IMAGE: board.float().expand(3, 4, *space), LABEL: board.expand(3, 1, *space)}
    spatial = {"rotation": 40, "scale": 0.3, "translation": 0.2, "flip_axes": (0, 1), "displacement": 0.03}
    augmentation = BatchAugmentation(**spatial, **intensities, probability=1)
    return batch, augmentation(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("space", [(48, 40), (32, 24, 16)], ids=["2d", "3d"])
def test_batch_augmentation_keeps_checkerboards_identical_in_all_modalities(space):
    before, after = augmented_checkerboards(space, gamma=0.5, gain=0.3, offset=0.2)
    assert (after[IMAGE] - before[IMAGE]).abs().flatten(1).mean(dim=1).min() > 0.1
    torch.testing.assert_close(after[IMAGE], after[IMAGE][:, :1].expand_as(after[IMAGE]), rtol=0, atol=0)


@pytest.mark.parametrize("space", [(48, 40), (32, 24, 16)], ids=["2d", "3d"])
def test_batch_augmentation_moves_the_label_as_the_checkerboards_of_all_modalities(space):
    before, after = augmented_checkerboards(space)
    sure = (after[LABEL] != UNLABELED) & ((after[IMAGE] - 0.5).abs() > 0.499).all(dim=1, keepdim=True)
    assert sure.flatten(1).float().mean(dim=1).min() > 0.2  # away from the edges between the fields
    for modality in after[IMAGE].split(1, dim=1):
        assert torch.equal(modality[sure].round().long(), after[LABEL][sure])
    assert (after[LABEL] != before[LABEL])[sure].float().mean() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_a_lower_resolution_move_as_the_image_does(kind):
    view = drawn(kind)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    before = (0.01 * y * x / 48 - 0.3 * x / 48).expand(3, 1, 32, 48)
    fine, coarse = view(before), view(torch.nn.functional.avg_pool2d(before, 4))
    inside = torch.nn.functional.avg_pool2d(view.valid(before).float(), 4) == 1
    inside[:, :, [0, -1]] = inside[:, :, :, [0, -1]] = False
    smaller = -torch.nn.functional.max_pool2d(-inside.float(), 3, 1, 1) == 1
    assert smaller.any()
    torch.testing.assert_close(
        coarse[smaller], torch.nn.functional.avg_pool2d(fine, 4)[smaller], atol=0.01, rtol=0
    )


@pytest.mark.parametrize(("factor", "grows"), [(1.2, True), (0.8, False)])
def test_a_factor_above_1_makes_objects_larger(factor, grows):
    square = torch.zeros(1, 1, 20, 20)
    square[..., 5:15, 5:15] = 1
    after = RandomSpatialView(["scale"], scale=(factor, factor))(1)(square)
    assert (after.sum() > square.sum()) == grows
    assert after.sum().item() == pytest.approx(100 * factor**2, rel=0.05)
    torch.testing.assert_close(after, after.flip(2, 3))  # the center stays


def test_a_rotation_keeps_lengths_in_pixels_in_images_that_are_not_square():
    angle = torch.deg2rad(torch.tensor(90.0))
    matrix = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])[None]
    bar = torch.zeros(1, 1, 15, 31)
    bar[..., 7, 11:20] = 1  # 9 pixels along the second axis
    upright = SpatialView("rotation", matrix=matrix)(bar)
    expected = torch.zeros(1, 1, 15, 31)
    expected[..., 3:12, 15] = 1
    torch.testing.assert_close(upright, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["translation", "scale", "rotation"])
def test_without_strength_nothing_changes(kind):
    view = RandomSpatialView([kind], translation=0, scale=(1, 1), rotation=0)(3)
    torch.testing.assert_close(view(image()), image(), atol=1e-5, rtol=0)
    assert view.valid(image()).all()


@given(st.integers(0, 10_000), st.floats(0, 0.9), st.floats(0.5, 1.0), st.floats(0, 90))
@settings(max_examples=50, deadline=None)
def test_numbers_are_drawn_within_the_strengths(seed, translation, smallest, rotation):
    draw = RandomSpatialView(KINDS, translation, (smallest, 1.3), rotation)
    view = draw(5, torch.Generator().manual_seed(seed))
    zoom = 1 / view.matrix.det().sqrt()
    angle = torch.rad2deg(torch.atan2(view.matrix[:, 1, 0], view.matrix[:, 0, 0]))
    assert view.shift.abs().max() <= translation + 1e-6
    assert (zoom >= smallest - 1e-4).all() and (zoom <= 1.3 + 1e-4).all()
    assert angle.abs().max() <= rotation + 1e-3
    assert view.axis in (0, 1) and view.turns in range(4) and view.kind in KINDS


def test_all_kinds_axes_and_turns_come_about():
    generator = torch.Generator().manual_seed(0)
    views = [RandomSpatialView(KINDS)(2, generator) for _ in range(200)]
    assert {view.kind for view in views} == set(KINDS)
    assert {view.axis for view in views if view.kind == "flip"} == {0, 1}
    assert {view.turns for view in views if view.kind == "quarter_turn"} == {1, 2, 3}
    assert {RandomSpatialView(["scale"])(2, generator).kind for _ in range(9)} == {"scale"}


@pytest.mark.parametrize("kind", ["translation", "rotation"])
def test_every_image_of_a_batch_has_its_own_numbers(kind):
    view = drawn(kind)
    after = view(image(1, 1, 8, 12).expand(3, 1, 8, 12))
    assert not torch.equal(after[0], after[1]) and not torch.equal(after[1], after[2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_the_same_each_time_and_its_seed_decides(kind):
    view = drawn(kind, seed=4)
    assert torch.equal(view(image()), view(image()))
    assert torch.equal(view(image()), drawn(kind, seed=4)(image()))
    assert any(
        view(image()).shape != other.shape or not torch.equal(view(image()), other)
        for other in (drawn(kind, seed)(image()) for seed in range(10))
    )


def test_without_a_generator_the_global_random_state_decides():
    shifts = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        shifts.append(RandomSpatialView(["translation"])(2).shift)
    assert torch.equal(shifts[0], shifts[1]) and not torch.equal(shifts[0], shifts[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_input_are_kept_and_gradients_pass(kind, dtype):
    before = image(dtype=dtype).requires_grad_()
    copy = before.detach().clone()
    after = drawn(kind)(before)
    after.sum().backward()
    assert after.dtype == dtype and torch.equal(before.detach(), copy)
    assert before.grad.any() and before.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": []}, r"kinds among flip, .*, rotation, got \[\]"),
        ({"kinds": ["flip", "shear"]}, r"kinds among flip, .*, got \['flip', 'shear'\]"),
        ({"translation": 1}, "0 <= translation < 1, got 1"),
        ({"translation": -0.1}, "0 <= translation < 1, got -0.1"),
        ({"scale": (1.2, 0.8)}, r"smallest and largest factor above 0, got \[1.2, 0.8\]"),
        ({"scale": (0, 1)}, r"smallest and largest factor above 0, got \[0, 1\]"),
        ({"scale": (1,)}, r"smallest and largest factor above 0, got \[1\]"),
        ({"rotation": -1}, "rotation >= 0, got -1"),
    ],
)
def test_says_which_argument_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomSpatialView(**arguments)
