import math

import pytest
import torch
from torch.nn.functional import interpolate

from monai_ext.keys import IMAGE, LABEL, SUPERVISION, UNLABELED
from monai_ext.transforms import batch_augmentation
from monai_ext.transforms.batch_augmentation import BatchAugmentation, affine_maps, cubic_basis, smooth_field

SPACES = pytest.mark.parametrize("space", [(12, 9), (8, 6, 7)], ids=["2d", "3d"])
STRONG = dict(
    rotation=40,
    scale=0.3,
    translation=0.2,
    flip_axes=(0, 1),
    displacement=0.1,
    gamma=0.5,
    gain=0.3,
    offset=0.2,
) | dict(noise=0.1)


def case(*space, batch=3, modalities=2, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    return {
        IMAGE: torch.rand(batch, modalities, *space, generator=g).to(dtype),
        LABEL: torch.randint(0, 4, (batch, 1, *space), generator=g),
        SUPERVISION: torch.arange(batch),
    }


def blank(*space):
    """One item of an image of 0.5 and a label of 1 everywhere."""
    return {IMAGE: torch.full((1, 1, *space), 0.5), LABEL: torch.ones(1, 1, *space, dtype=torch.long)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved_exactly(augmentation, batch, **drawn):
    """The spatial part with other numbers than the drawn ones."""
    numbers = augmentation.draw(len(batch[IMAGE]), batch[IMAGE].ndim - 2, generator())
    for name, value in drawn.items():
        setattr(numbers, name, value)
    return augmentation.move(batch[IMAGE], batch[LABEL], numbers)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@SPACES
def test_without_strength_nothing_changes(space):
    batch = case(*space)
    assert same(BatchAugmentation()(batch, generator()), batch)


@SPACES
def test_with_probability_0_only_flips_remain(space):
    batch = case(*space)
    weak = STRONG | dict(flip_axes=(), displacement=0)
    assert same(BatchAugmentation(**weak, probability=0)(batch, generator()), batch)


@SPACES
def test_the_generator_decides_all(space):
    batch, augmentation = case(*space), BatchAugmentation(**STRONG)
    first = augmentation(batch, generator(5))
    torch.rand(3)  # the global random state has no part in it
    assert same(augmentation(batch, generator(5)), first)
    assert not torch.equal(augmentation(batch, generator(6))[IMAGE], first[IMAGE])


@SPACES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
def test_the_input_is_left_alone_and_dtypes_and_other_keys_are_kept(space, dtype):
    batch = case(*space, dtype=dtype)
    before = {key: value.clone() for key, value in batch.items()}
    after = BatchAugmentation(**STRONG)(batch, generator())
    assert same(batch, before)
    assert {key: value.dtype for key, value in after.items()} == {k: v.dtype for k, v in batch.items()}
    assert after[SUPERVISION] is batch[SUPERVISION]
    assert after[IMAGE].shape == batch[IMAGE].shape and after[LABEL].shape == batch[LABEL].shape


def test_items_of_a_batch_are_changed_differently():
    batch = {key: value[:1].repeat(3, 1, 1, 1) for key, value in case(10, 10).items() if key != SUPERVISION}
    image = BatchAugmentation(rotation=40)(batch, generator())[IMAGE]
    assert not torch.allclose(image[0], image[1]) and not torch.allclose(image[1], image[2])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_happen_on_the_named_axes_for_half_of_the_items(axis):
    batch = case(6, 5, 4, batch=40)
    after = BatchAugmentation(flip_axes=[axis])(batch, generator())
    flipped = (after[LABEL] != batch[LABEL]).flatten(1).any(dim=1)
    assert 10 < flipped.sum() < 30
    for key in (IMAGE, LABEL):
        torch.testing.assert_close(after[key][flipped], batch[key][flipped].flip(axis + 2))
        torch.testing.assert_close(after[key][~flipped], batch[key][~flipped])


@pytest.mark.parametrize("space", [(9, 9), (9, 9, 6)], ids=["2d", "3d"])
def test_a_quarter_turn_of_the_first_two_axes_is_exact(space):
    batch, dims = case(*space), len(space)
    turn = affine_maps(
        torch.full((3,), math.pi / 2), torch.ones(3), torch.ones(3, dims), torch.zeros(3, dims)
    )
    image, label = moved_exactly(BatchAugmentation(), batch, affine=turn)
    assert torch.equal(label, batch[LABEL].rot90(1, (2, 3)))
    torch.testing.assert_close(image, batch[IMAGE].rot90(1, (2, 3)), atol=1e-5, rtol=0)


def bar_angle(mask):
    """Angle of the longest axis of the marked voxels above the last axis, in degrees modulo 180."""
    points = mask.nonzero().double()
    _, vectors = torch.linalg.eigh(points.T.cov())
    return math.degrees(math.atan2(-vectors[0, -1], vectors[1, -1])) % 180


def test_the_angle_is_that_in_voxels_though_the_image_is_not_square():
    batch = {IMAGE: torch.zeros(16, 1, 60, 101), LABEL: torch.zeros(16, 1, 60, 101, dtype=torch.long)}
    batch[LABEL][..., 29:31, 25:76] = 1
    augmentation = BatchAugmentation(rotation=30)
    affine = augmentation.draw(16, 2, generator(3)).affine
    angles = torch.rad2deg(torch.atan2(affine[:, 1, 0], affine[:, 0, 0]))
    assert 20 < angles.abs().max() <= 30
    for mask, angle in zip(augmentation(batch, generator(3))[LABEL][:, 0] == 1, angles.tolist(), strict=True):
        assert mask.sum() == pytest.approx(102, abs=14)  # neither stretched nor sheared
        assert abs((bar_angle(mask) - angle + 90) % 180 - 90) < 1.5


@pytest.mark.parametrize("size", [0.5, 1.0])
def test_scale_is_the_ratio_of_lengths(size):
    batch = {IMAGE: torch.zeros(30, 1, 40, 64), LABEL: torch.zeros(30, 1, 40, 64, dtype=torch.long)}
    batch[LABEL][..., 10:30, 22:42] = 1
    area = (BatchAugmentation(scale=size)(batch, generator())[LABEL] == 1).flatten(1).sum(dim=1)
    ratio = (area / 400).sqrt()
    assert 1 / (1 + size) - 0.06 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1 + size + 0.06


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_moves_voxels_and_brings_in_0_and_unlabeled(axis):
    batch, augmentation = case(8, 10, 12), BatchAugmentation()
    shift = torch.zeros(3, 3)
    shift[:, axis] = 2 * 3 / batch[IMAGE].shape[axis + 2]  # 3 voxels, in units of half the size
    affine = affine_maps(torch.zeros(3), torch.ones(3), torch.ones(3, 3), shift)
    image, label = moved_exactly(augmentation, batch, affine=affine)
    kept = batch[IMAGE].shape[axis + 2] - 3
    torch.testing.assert_close(
        image.narrow(axis + 2, 0, kept), batch[IMAGE].narrow(axis + 2, 3, kept), atol=1e-5, rtol=0
    )
    assert torch.equal(label.narrow(axis + 2, 0, kept), batch[LABEL].narrow(axis + 2, 3, kept))
    assert (label.narrow(axis + 2, kept, 3) == UNLABELED).all()
    assert image.narrow(axis + 2, kept, 3).abs().max() < 1e-5


def test_translation_is_at_most_its_share_of_each_side():
    batch = {IMAGE: torch.zeros(60, 1, 40, 80), LABEL: torch.zeros(60, 1, 40, 80, dtype=torch.long)}
    batch[LABEL][..., 20, 40] = 1
    label = BatchAugmentation(translation=0.25)(batch, generator())[LABEL]
    where = (label[:, 0] == 1).nonzero()
    shift = (where[:, 1:] - torch.tensor([20, 40])).abs()
    assert len(where) == 60 and (shift.amax(dim=0) <= torch.tensor([10, 20])).all()
    assert (shift.amax(dim=0) >= torch.tensor([8, 16])).all()


def disk(*space):
    """Smooth-edged ball as image, its mask as label."""
    axes = torch.meshgrid(*[torch.arange(n) - n / 2 + 0.5 for n in space], indexing="ij")
    inside = sum(a**2 for a in axes) < (min(space) / 3.5) ** 2
    return {IMAGE: inside.float().expand(6, 1, *space), LABEL: inside.long().expand(6, 1, *space)}


@pytest.mark.parametrize("space", [(40, 56), (20, 24, 28)], ids=["2d", "3d"])
def test_image_and_label_move_together(space):
    spatial = {k: v for k, v in STRONG.items() if k not in ("gamma", "gain", "offset", "noise")}
    after = BatchAugmentation(**(spatial | {"displacement": 0.05}))(disk(*space), generator())
    moved = (after[LABEL] == 1).float()
    assert not torch.equal(moved, disk(*space)[LABEL].float())
    sure = (after[IMAGE] - 0.5).abs() > 0.499  # all neighbors agree, so the nearest does too
    assert sure.float().mean() > 0.7
    assert torch.equal(after[IMAGE][sure].round(), moved[sure])


@SPACES
def test_displacement_bends(space):
    batch = case(*space)
    after = BatchAugmentation(displacement=0.2)(batch, generator())
    assert not torch.equal(after[LABEL], batch[LABEL])
    assert set(after[LABEL].unique().tolist()) <= {0, 1, 2, 3, UNLABELED}


@SPACES
def test_the_field_between_control_points_is_cubic(space):
    control = torch.randn(2, len(space), *[4] * len(space), generator=generator())
    expected = control
    for axis, size in enumerate(space, start=2):  # one axis after the other, each as lines of an image
        lines = expected.movedim(axis, -1)
        flat = lines.reshape(1, 1, -1, 4)
        wide = interpolate(flat, size=(flat.shape[2], size), mode="bicubic", align_corners=True)
        expected = wide.view(*lines.shape[:-1], size).movedim(-1, axis)
    torch.testing.assert_close(smooth_field(control, space), expected)


def test_a_basis_is_made_once_on_the_device_where_it_is_used():
    host, other = (cubic_basis(4, 8, torch.device(name)) for name in ("cpu", "meta"))
    assert (host.device.type, other.device.type) == ("cpu", "meta") and host.shape == other.shape == (4, 8)
    assert cubic_basis(4, 8, torch.device("cpu")) is host


def test_control_points_are_on_the_device_of_the_image(monkeypatch):
    devices = []

    def spy(control, space):
        devices.append(control.device.type)
        return smooth_field(control, space)

    monkeypatch.setattr(batch_augmentation, "smooth_field", spy)
    batch = {key: value.to("meta") for key, value in case(8, 6).items()}
    assert BatchAugmentation(displacement=0.1)(batch, generator())[LABEL].device.type == "meta"
    assert devices == ["meta"]


@SPACES
def test_an_unlabeled_map_stays_unlabeled(space):
    batch = case(*space) | {LABEL: torch.full((3, 1, *space), UNLABELED)}
    assert (BatchAugmentation(**STRONG)(batch, generator())[LABEL] == UNLABELED).all()


def test_a_batch_of_one_is_augmented():
    batch = case(9, 12, batch=1)
    after = BatchAugmentation(**STRONG)(batch, generator())
    assert after[IMAGE].shape == (1, 2, 9, 12) and not torch.equal(after[IMAGE], batch[IMAGE])


def test_intensities_follow_the_written_formula():
    batch, augmentation = case(6, 5), BatchAugmentation(gamma=0.5, gain=0.3, offset=0.2)
    drawn = augmentation.draw(3, 2, generator())
    after = augmentation(batch, generator())
    for i in range(3):
        g, exponent, o = (float(v[i]) for v in (drawn.gain, drawn.gamma, drawn.offset))
        assert 0.7 <= g <= 1.3 and 1 / 1.5 <= exponent <= 1.5 and -0.2 <= o <= 0.2
        expected = [[g * float(x) ** exponent + o for x in row] for row in batch[IMAGE][i, 0]]
        torch.testing.assert_close(after[IMAGE][i, 0], torch.tensor(expected))
    assert torch.equal(after[LABEL], batch[LABEL])


def test_noise_has_the_drawn_standard_deviation_and_no_bias():
    batch, augmentation = blank(100, 100), BatchAugmentation(noise=0.2)
    std = float(augmentation.draw(1, 2, generator()).noise_std)
    change = augmentation(batch, generator())[IMAGE] - batch[IMAGE]
    assert 0 < std <= 0.2
    assert float(change.std()) == pytest.approx(std, rel=0.03)
    assert abs(float(change.mean())) < 4 * std / 100


def test_probability_is_the_share_of_changed_items():
    batch = case(4, 4, batch=300)
    after = BatchAugmentation(gain=0.5, probability=0.3)(batch, generator())
    share = (after[IMAGE] != batch[IMAGE]).flatten(1).any(dim=1).float().mean()
    assert 0.2 < share < 0.4


def test_an_item_that_is_not_moved_is_not_bent_either():
    drawn = BatchAugmentation(rotation=40, displacement=0.1, probability=0.5).draw(200, 2, generator())
    bent = drawn.displacement.flatten(1).any(dim=1)
    turned = (drawn.affine != torch.eye(2, 3)).flatten(1).any(dim=1)
    assert torch.equal(bent, turned) and 60 < bent.sum() < 140


def test_every_batch_has_noise_of_its_own():
    batch, augmentation, g = blank(50, 50), BatchAugmentation(noise=0.2, probability=1), generator()
    first, second = ((augmentation(batch, g)[IMAGE] - batch[IMAGE]).flatten() for _ in range(2))
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.1


def test_intensities_below_0_stay_finite():
    batch = blank(4, 4)
    batch[IMAGE] -= 0.6  # as noise in an image that was scaled by percentiles
    after = BatchAugmentation(gamma=0.5, probability=1)(batch, generator())[IMAGE]
    assert after.eq(0).all()


@pytest.mark.parametrize(
    "name", ["rotation", "scale", "translation", "displacement", "gamma", "gain", "noise"]
)
def test_says_that_a_strength_is_negative(name):
    with pytest.raises(ValueError, match=f"Expected {name} >= 0, got -1"):
        BatchAugmentation(**{name: -1})


@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_says_what_a_probability_is(probability):
    with pytest.raises(ValueError, match=r"Expected 0 <= probability <= 1, got"):
        BatchAugmentation(probability=probability)
