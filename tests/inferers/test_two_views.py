import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_ext.inferers import TwoViewInferer, TwoViews
from monai_ext.transforms import RandomSpatialView, SpatialView

VIEWS = {
    "flip": SpatialView("flip", axis=0),
    "quarter_turn": SpatialView("quarter_turn", turns=3),
    "translation": SpatialView("translation", shift=torch.tensor([[0.2, -0.1], [0.0, 0.3]])),
    "scale": SpatialView("scale", matrix=torch.eye(2)[None] / 0.8),
}


@pytest.fixture
def net():
    return nn.Conv2d(2, 4, 3, padding=1).requires_grad_(False)


@pytest.mark.parametrize("kind", VIEWS)
def test_the_views_are_those_of_the_equation(kind, net):
    view, image = VIEWS[kind], torch.rand(2, 2, 6, 10)
    views = TwoViewInferer(lambda batch: view, autocast=False)(image, net)
    assert isinstance(views, TwoViews)
    torch.testing.assert_close(views.maps, net(image))
    torch.testing.assert_close(views.moved_maps, view(net(image)))
    torch.testing.assert_close(views.maps_of_moved, net(view(image)))
    assert torch.equal(views.valid, view.valid(net(image)))


@pytest.mark.parametrize("kind", VIEWS)
def test_both_views_of_maps_have_one_size_at_any_resolution(kind):
    net = nn.Conv2d(2, 4, 2, stride=2)
    views = TwoViewInferer(lambda batch: VIEWS[kind], autocast=False)(torch.rand(2, 2, 8, 12), net)
    size = (6, 4) if kind == "quarter_turn" else (4, 6)
    assert views.maps.shape == (2, 4, 4, 6)
    assert views.moved_maps.shape == views.maps_of_moved.shape == (2, 4, *size)
    assert views.valid.shape == (2, 1, *size)


def test_a_view_is_drawn_once_for_each_batch(net):
    asked = []

    def draw(batch):
        asked.append(batch)
        return VIEWS["flip"]

    inferer = TwoViewInferer(draw)
    for batch in (3, 1):
        inferer(torch.rand(batch, 2, 4, 4), net)
    assert asked == [3, 1]


def test_the_views_come_from_the_random_state(net):
    inferer, image = TwoViewInferer(RandomSpatialView()), torch.rand(2, 2, 8, 8)

    def shown(seed):
        torch.manual_seed(seed)
        return [inferer(image, net).maps_of_moved for _ in range(4)]

    first, again, other = shown(1), shown(1), shown(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])


def test_both_passes_teach_the_network():
    net = nn.Conv2d(2, 4, 1)
    views = TwoViewInferer(lambda batch: VIEWS["scale"])(torch.rand(2, 2, 8, 8), net)
    for maps in views[:3]:
        (gradient,) = torch.autograd.grad(maps.square().sum(), net.weight, retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize("autocast", [True, False])
def test_maps_are_plain_float32(net, autocast):
    image = torch.rand(2, 2, 8, 8)
    views = TwoViewInferer(lambda batch: VIEWS["scale"], autocast)(MetaTensor(image), net)
    assert all(type(maps) is torch.Tensor and maps.dtype == torch.float32 for maps in views[:3])
    assert views.valid.dtype == torch.bool
    torch.testing.assert_close(views.maps, net(image), atol=0.03, rtol=0.03)


def test_further_arguments_reach_the_network_in_both_passes():
    seen = []

    def net(image, *args, **kwargs):
        seen.append((args, kwargs))
        return image

    TwoViewInferer(lambda batch: VIEWS["flip"])(torch.rand(1, 2, 4, 4), net, 1, flag=2)
    assert seen == [((1,), {"flag": 2})] * 2
