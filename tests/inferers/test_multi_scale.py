import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import zoom
from torch import Tensor, nn
from torch.nn.functional import interpolate

from monai_ext.inferers import AutocastInferer, AveragingInferer, MultiScaleInferer

SPACES = pytest.mark.parametrize("space", [(16, 24), (16, 8, 24)], ids=["2d", "3d"])
SCALES = (0.5, 1.0, 1.5)


class Spy(nn.Module):
    """Gives back its image, and keeps the sizes, arguments and image that it was given."""

    def __init__(self):
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor, *args, **kwargs) -> Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        self.image, self.args, self.kwargs = image, args, kwargs
        return image


def conv(spatial_dims: int, kernel_size: int) -> nn.Module:
    layer = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2]
    return layer(2, 3, kernel_size, padding=kernel_size // 2).requires_grad_(False)


def position(image: Tensor) -> Tensor:
    """A network that reads nothing but the place: two classes, whose logits are 0 and the row's number."""
    rows = torch.arange(float(image.shape[2])).reshape(1, 1, -1, *[1] * (image.ndim - 3))
    return torch.cat([0 * image[:, :1], rows + 0 * image[:, :1]], dim=1)


@SPACES
def test_logits_are_stacked_by_scale_at_the_size_of_the_image(space):
    net, image = conv(len(space), 3), torch.rand(2, 2, *space)
    logits = MultiScaleInferer(SCALES, 8, autocast=False)(image, net)
    assert logits.shape == (2, 3, 3, *space)
    for s, scale in enumerate(SCALES):
        alone = MultiScaleInferer([scale], 8, autocast=False)(image, net)
        torch.testing.assert_close(logits[:, s : s + 1], alone, rtol=0, atol=0)


@pytest.mark.parametrize("space", [(13, 7), (5, 9, 3)], ids=["2d", "3d"])
def test_a_scale_of_one_is_the_plain_network_whatever_the_size(space):
    net, image = conv(len(space), 3), torch.rand(1, 2, *space)
    logits = MultiScaleInferer([1.0], 16, autocast=False)(image, net)
    torch.testing.assert_close(logits[:, 0], net(image))


@pytest.mark.parametrize("space", [(13, 21), (16, 24), (9, 8, 5)], ids=["odd", "even", "3d"])
def test_a_pointwise_network_says_the_same_of_a_constant_image_at_all_scales(space):
    net = conv(len(space), 1)
    image = torch.tensor([0.3, -2.0]).reshape(1, 2, *[1] * len(space)).expand(2, 2, *space)
    logits = MultiScaleInferer((0.3, 1, 1.5, 2.2), 4, autocast=False)(image, net)
    torch.testing.assert_close(logits, net(image)[:, None].expand_as(logits))


@given(st.lists(st.integers(1, 70), min_size=2, max_size=3), st.floats(0.2, 3), st.sampled_from([1, 4, 8]))
@settings(max_examples=40, deadline=None)
def test_the_network_sees_the_next_multiples_of_the_divisor(space, scale, divisor):
    spy, image = Spy(), torch.zeros(1, 1, *space)
    logits = MultiScaleInferer([scale], divisor, autocast=False)(image, spy)
    assert logits.shape == (1, 1, 1, *space)
    for seen, size in zip(spy.sizes[0], space, strict=True):
        if scale != 1:
            assert seen == divisor * math.ceil(max(1, round(scale * size)) / divisor)


@SPACES
def test_the_margin_continues_the_image_by_its_last_voxels(space):
    spy, image = Spy(), torch.rand(1, 1, *space)
    MultiScaleInferer([0.75], 16, autocast=False)(image, spy)
    scaled = [3 * n // 4 for n in space]
    seen = spy.image
    for axis, n in enumerate(scaled, start=2):
        last = seen.narrow(axis, n - 1, 1)
        margin = seen.narrow(axis, n, seen.shape[axis] - n)
        assert margin.shape[axis] > 0
        torch.testing.assert_close(margin, last.expand_as(margin), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.875, 1.125, 0.8, 1.3])
def test_every_axis_changes_by_the_same_factor_up_to_one_voxel(scale):
    size = (32, 48, 32)
    for axis, n in enumerate(size):
        spy, ramp = Spy(), torch.arange(float(n)).reshape([-1 if a == axis else 1 for a in range(3)])
        MultiScaleInferer([scale], 8, autocast=False)(ramp.expand(1, 1, *size), spy)
        line = spy.image[0, 0].movedim(axis, 0)[:, 0, 0]
        voxels = 1 + int((line.diff() > 0).sum())  # the margin repeats the last one
        assert abs(voxels - scale * n) <= 0.5 and len(line) % 8 == 0
        torch.testing.assert_close(line[2 : voxels - 2].diff(), torch.full([voxels - 5], n / voxels))


@pytest.mark.parametrize("scale", [0.3, 0.7, 0.875, 1.125, 2.2])
@pytest.mark.parametrize("space", [(32, 48), (13, 21), (32, 48, 32), (9, 8, 5)], ids=str)
def test_a_pointwise_network_says_the_same_with_a_margin_as_without(space, scale):
    net, image = conv(len(space), 1), torch.rand(2, 2, *space)
    margin, none = (MultiScaleInferer([scale], n, autocast=False)(image, net) for n in (16, 1))
    torch.testing.assert_close(margin, none)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(
    ("space", "scales"), [((128, 128), (0.75, 0.875, 1.125, 1.25)), ((32, 16, 32), (0.5, 1.5))]
)
def test_sizes_without_a_margin_are_plain_interpolation_to_the_bit(space, scales, stride):
    pool = (nn.AvgPool2d, nn.AvgPool3d)[len(space) - 2](stride)
    net, image = nn.Sequential(conv(len(space), 3), pool), torch.rand(1, 2, *space)
    plain = AutocastInferer(False)
    mode = {2: "bilinear", 3: "trilinear"}[len(space)]
    for scale in scales:
        logits = MultiScaleInferer([scale], 8, autocast=False)(image, net)[:, 0]
        small = interpolate(image, [int(n * scale) for n in space], mode=mode)
        assert torch.equal(logits, interpolate(plain(small, net), space, mode=mode))


def test_a_scale_that_rounds_to_the_size_of_the_image_changes_nothing():
    spy, image = Spy(), torch.rand(1, 1, 16, 16)
    logits = MultiScaleInferer([0.98], 16, autocast=False)(image, spy)
    assert torch.equal(logits[:, 0], image)


@SPACES
def test_maps_of_a_lower_resolution_lose_the_margin_at_the_size_that_the_network_saw(space):
    image, net = torch.rand(1, 2, *space), (nn.AvgPool2d, nn.AvgPool3d)[len(space) - 2](2)
    logits = MultiScaleInferer([0.7], 8, autocast=False)(image, net)[:, 0]
    spy, mode = Spy(), {2: "bilinear", 3: "trilinear"}[len(space)]
    MultiScaleInferer([0.7], 8, autocast=False)(image, spy)
    seen = interpolate(net(spy.image), spy.sizes[0], mode=mode)
    for axis, n in enumerate(space, start=2):
        seen = seen.narrow(axis, 0, round(0.7 * n))
    torch.testing.assert_close(logits, interpolate(seen, space, mode=mode))


@SPACES
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_resampling_is_linear_between_the_centers_of_voxels_as_in_scipy(space, scale):
    spy, image = Spy(), torch.rand(1, 1, *space)
    MultiScaleInferer([scale], 1, autocast=False)(image, spy)
    expected = zoom(image[0, 0].numpy(), scale, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(spy.image[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_what_comes_back_is_not_shifted(scale):
    image = torch.arange(32.0).reshape(1, 1, 32, 1).expand(1, 1, 32, 32)
    logits = MultiScaleInferer([scale], 8, autocast=False)(image, Spy())
    torch.testing.assert_close(logits[0, 0, 0, 4:-4], image[0, 0, 4:-4])


def test_every_scale_gives_the_weights_a_gradient():
    net = nn.Conv2d(2, 3, 3, padding=1)
    logits = MultiScaleInferer(SCALES, 8)(torch.rand(1, 2, 16, 16), net)
    for one in logits.unbind(dim=1):
        (gradient,) = torch.autograd.grad(one.square().mean(), net.weight, retain_graph=True)
        assert gradient.dtype == torch.float32 and gradient.any()


@pytest.mark.parametrize("inferer", [MultiScaleInferer([0.5, 1], 8), AveragingInferer([0.5, 1], [0], 8)])
def test_a_tensor_with_metadata_and_further_arguments_give_a_plain_tensor(inferer):
    spy = Spy()
    result = inferer(MetaTensor(torch.rand(1, 2, 16, 16)), spy, 1, flag=2)
    assert type(result) is torch.Tensor and type(spy.image) is torch.Tensor
    assert (spy.args, spy.kwargs) == ((1,), {"flag": 2})


@pytest.mark.parametrize("kind", [MultiScaleInferer, AveragingInferer])
def test_autocast_computes_in_bfloat16_and_gives_float32(kind):
    net, image = conv(2, 3), torch.rand(1, 2, 16, 16)
    half, single = (kind(SCALES, divisor=8, autocast=on)(image, net) for on in (True, False))
    assert half.dtype == single.dtype == torch.float32
    torch.testing.assert_close(half, single, atol=0.03, rtol=0.03)
    assert not torch.equal(half, single)


@SPACES
def test_the_average_is_the_mean_of_probabilities_by_hand(space):
    net, image = conv(len(space), 3), torch.rand(2, 2, *space)
    averaged = AveragingInferer(SCALES, (0, 1), 8, autocast=False)(image, net)
    views = []
    for axes in ([], [2], [3], [2, 3]):
        logits = MultiScaleInferer(SCALES, 8, autocast=False)(image.flip(axes), net)
        views += [z.softmax(dim=1).flip(axes) for z in logits.unbind(dim=1)]
    mean = torch.stack(views).mean(dim=0)
    torch.testing.assert_close(averaged.softmax(dim=1), mean)
    torch.testing.assert_close(averaged.exp(), mean)


@pytest.mark.parametrize("space", [(16, 8), (7, 5, 9)], ids=["2d", "3d"])
def test_flips_are_undone(space):
    for n in range(len(space) + 1):
        for axes in itertools.combinations(range(len(space)), n):
            image = torch.randn(2, 3, *space)
            averaged = AveragingInferer((1.0,), axes, autocast=False)(image, Spy())
            torch.testing.assert_close(averaged.softmax(dim=1), image.softmax(dim=1))


@pytest.mark.parametrize("space", [(6, 4), (6, 4, 2)], ids=["2d", "3d"])
def test_a_network_that_reads_the_place_is_averaged_with_its_mirror_image(space):
    rows = torch.sigmoid(torch.arange(6.0))
    for axes, expected in (((0,), (rows + rows.flip(0)) / 2), ((1,), rows)):
        averaged = AveragingInferer(flip_axes=axes, autocast=False)(torch.zeros(1, 1, *space), position)
        found = averaged.softmax(dim=1)[0, 1].flatten(1)
        torch.testing.assert_close(found, expected[:, None].expand_as(found))


@pytest.mark.parametrize(("axes", "passes"), [((), 1), ((1,), 2), ((0, 1), 4)])
def test_every_scale_meets_every_subset_of_the_flips(axes, passes):
    spy = Spy()
    AveragingInferer(SCALES, axes, 8, autocast=False)(torch.rand(1, 2, 16, 16), spy)
    assert sorted(spy.sizes) == sorted([(8, 8), (16, 16), (24, 24)] * passes)


def test_one_view_has_the_probabilities_of_the_network():
    net, image = conv(2, 3), torch.rand(1, 2, 16, 16)
    averaged = AveragingInferer(autocast=False)(image, net)
    torch.testing.assert_close(averaged.softmax(dim=1), net(image).softmax(dim=1))


def test_certainty_stays_finite():
    image = 1e4 * torch.eye(2).reshape(1, 2, 2, 1).expand(1, 2, 2, 4)
    averaged = AveragingInferer(flip_axes=(1,), autocast=False)(image, Spy())
    assert averaged.isfinite().all()
    torch.testing.assert_close(averaged.softmax(dim=1), image.softmax(dim=1))


@SPACES
def test_the_average_of_logits_is_their_mean_by_hand(space):
    net, image = conv(len(space), 3), torch.rand(2, 2, *space)
    averaged = AveragingInferer(SCALES, (0, 1), 8, autocast=False, average="logits")(image, net)
    views = []
    for axes in ([], [2], [3], [2, 3]):
        logits = MultiScaleInferer(SCALES, 8, autocast=False)(image.flip(axes), net)
        views += [z.flip(axes) for z in logits.unbind(dim=1)]
    torch.testing.assert_close(averaged, torch.stack(views).mean(dim=0))


def test_one_view_averaged_by_logits_is_what_the_network_gives():
    net, image = conv(2, 3), torch.rand(1, 2, 16, 16)
    averaged = AveragingInferer(autocast=False, average="logits")(image, net)
    torch.testing.assert_close(averaged, net(image))


@SPACES
@pytest.mark.parametrize("scale", [1, 0.5])
def test_maps_of_a_lower_resolution_come_back_at_the_size_of_the_image(space, scale):
    net = (nn.AvgPool2d, nn.AvgPool3d)[len(space) - 2](2)
    image = torch.rand(1, 2, *space)
    logits = MultiScaleInferer([scale], 1, autocast=False)(image, net)[0, 0]
    spy = Spy()
    MultiScaleInferer([scale], 1, autocast=False)(image, spy)
    factors = [2 / scale] * len(space)
    for modality in range(2):
        expected = zoom(net(spy.image)[0, modality].numpy(), factors, order=1, mode="nearest", grid_mode=True)
        np.testing.assert_allclose(logits[modality].numpy(), expected, atol=1e-5)


def test_maps_of_a_lower_resolution_are_averaged_at_the_size_of_the_image():
    image = torch.rand(1, 2, 16, 24)
    averaged = AveragingInferer((0.5, 1), (0, 1), 8, autocast=False, average="logits")(image, nn.AvgPool2d(4))
    assert averaged.shape == image.shape
    one = AveragingInferer(flip_axes=(0, 1), autocast=False, average="logits")(image, nn.AvgPool2d(4))
    torch.testing.assert_close(one, MultiScaleInferer([1], autocast=False)(image, nn.AvgPool2d(4))[:, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": []}, r"at least one scale, each above 0, got \[\]"),
        ({"scales": [1, 0]}, r"each above 0, got \[1, 0\]"),
        ({"scales": [1, -0.5]}, r"each above 0, got \[1, -0.5\]"),
        ({"scales": [1], "divisor": 0}, "divisor >= 1, got 0"),
    ],
)
@pytest.mark.parametrize("kind", [MultiScaleInferer, AveragingInferer])
def test_says_which_argument_is_wrong(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize("axes", [(-1,), (0, 0)])
def test_says_which_axes_are_wrong(axes):
    with pytest.raises(ValueError, match=r"flip_axes >= 0, each once, got \["):
        AveragingInferer(flip_axes=axes)


def test_says_which_averages_there_are():
    with pytest.raises(ValueError, match="average probs or logits, got 'median'"):
        AveragingInferer(average="median")


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 1, 4, 4, 4, 4)])
@pytest.mark.parametrize("inferer", [MultiScaleInferer([1.0]), AveragingInferer()])
def test_says_that_images_have_two_or_three_axes(inferer, shape):
    with pytest.raises(ValueError, match=r"images \(B, M, \*S\) of two or three axes S, got \(1, "):
        inferer(torch.zeros(shape), Spy())
