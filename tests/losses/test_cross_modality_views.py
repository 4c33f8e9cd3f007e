import pytest
import torch
from torch import nn

from monai_ext.inferers import TwoViewInferer
from monai_ext.losses import CrossModalityEquivarianceLoss
from monai_ext.networks import ModalityCamNet
from monai_ext.transforms import RandomSpatialView, SpatialView

VIEWS = {
    "flip": SpatialView("flip", axis=1),
    "quarter_turn": SpatialView("quarter_turn", turns=1),
    "translation": SpatialView("translation", shift=torch.tensor([[1 / 3, -0.25]])),
    "scale": SpatialView("scale", matrix=torch.eye(2)[None] / 1.15),
}


@pytest.mark.parametrize("kind", ["flip", "quarter_turn"])
def test_a_network_of_pointwise_convolutions_moves_with_the_image(kind):
    net = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 1)).double()
    draw = RandomSpatialView([kind])
    loss = CrossModalityEquivarianceLoss()
    for _ in range(6):
        image = torch.randn(3, 2, 6, 10, dtype=torch.float64)
        loss(exact(draw)(image, net), torch.ones(3, 1).long())
        assert loss.terms["within"] == 0


def exact(draw):
    """An inferer that keeps float64."""
    inferer = TwoViewInferer(draw)
    inferer.base = lambda image, net: net(image)
    return inferer


@pytest.mark.parametrize("kind", VIEWS)
def test_an_affine_pointwise_network_moves_with_the_image_wherever_it_is_valid(kind):
    net = nn.Conv2d(2, 4, 1).double()
    nn.init.uniform_(net.weight, 0.1, 1)
    nn.init.constant_(net.bias, 3)
    image = torch.rand(2, 2, 6, 8, dtype=torch.float64)
    loss = CrossModalityEquivarianceLoss()
    loss(exact(lambda batch: VIEWS[kind])(image, net), torch.ones(2, 1).long())
    assert loss.terms["within"].item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("kind", VIEWS)
def test_a_network_that_reads_the_place_does_not_move_with_the_image(kind):
    place = torch.arange(36.0).reshape(6, 6).square()
    loss = CrossModalityEquivarianceLoss()
    views = TwoViewInferer(lambda batch: VIEWS[kind], autocast=False)(
        torch.rand(2, 2, 6, 6), lambda image: image.repeat_interleave(2, 1) + place
    )
    loss(views, torch.ones(2, 1).long())
    assert loss.terms["within"] > 1e-4


def test_a_quarter_turn_of_a_slice_that_is_not_square_can_be_learned_from():
    net = ModalityCamNet(2, channels=(4, 4))
    views = TwoViewInferer(lambda batch: VIEWS["quarter_turn"])(torch.rand(2, 2, 16, 32), net)
    assert views.maps.shape[2:] == (4, 8) and views.maps_of_moved.shape[2:] == (8, 4)
    CrossModalityEquivarianceLoss()(views, torch.tensor([[1], [0]])).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def brains(batch):
    """Images (B, 2, 16, 16) of two modalities, every other one with a bright square, masks, tags."""
    image, mask = 0.3 * torch.rand(batch, 2, 16, 16), torch.zeros(batch, 16, 16, dtype=torch.bool)
    for b in range(0, batch, 2):
        y, x = torch.randint(1, 10, (2,)).tolist()
        mask[b, y : y + 5, x : x + 5] = True
    return image + 0.5 * mask[:, None], mask, mask.any(dim=(1, 2)).long()[:, None]


def test_a_few_steps_find_the_object():
    net, loss = ModalityCamNet(2, channels=(8,), map_stride=1, refinements=1), CrossModalityEquivarianceLoss()
    inferer, optimizer = TwoViewInferer(RandomSpatialView()), torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(40):
        image, _, tags = brains(16)
        optimizer.zero_grad()
        loss(inferer(image, net), tags).backward()
        optimizer.step()
    image, mask, tags = brains(16)
    with torch.no_grad():
        scores = net.eval()(image).unflatten(1, (2, 2))[:, :, 1]
    for b in tags[:, 0].nonzero().flatten():
        for cam in scores[b]:
            assert mask[b].flatten()[cam.argmax()]
            assert cam[mask[b]].mean() > cam[~mask[b]].mean()
