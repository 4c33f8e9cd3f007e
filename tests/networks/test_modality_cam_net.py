import pytest
import torch
from monai.networks.blocks import UnetResBlock
from torch import nn

from monai_ext.cams import pool_scores
from monai_ext.networks import CamNet, ModalityCamNet
from monai_ext.networks.modality_cam_net import ResidualBlock

PUBLISHED = {"channels": (4, 8, 16, 16), "map_stride": 1, "refinements": 1, "residual": False}
"""The published U-Net, narrower."""
SHAPES = pytest.mark.parametrize(
    ("arguments", "stride"),
    [
        ({"channels": (4, 8)}, 4),
        ({"channels": (4, 8, 8), "map_stride": 2}, 2),
        ({"channels": (4,), "map_stride": 1}, 1),
        ({"channels": (4,), "map_stride": 2, "refinements": 0}, 2),
        (PUBLISHED, 1),
    ],
    ids=["default", "decoder", "one_level", "no_refinement", "published"],
)


@SHAPES
@pytest.mark.parametrize("batch", [1, 3])
def test_maps_have_two_channels_a_modality_at_the_stride(arguments, stride, batch):
    net = ModalityCamNet(3, **arguments).eval()
    assert net(torch.rand(batch, 3, 16, 32)).shape == (batch, 6, 16 // stride, 32 // stride)


def test_maps_are_those_of_the_first_modality_then_of_the_second():
    net, image = ModalityCamNet(2, channels=(4, 8)).eval(), torch.rand(2, 2, 16, 24)
    maps = net(image)
    for m, single in enumerate(net.networks):
        torch.testing.assert_close(maps[:, 2 * m : 2 * m + 2], single(image[:, m : m + 1]), rtol=0, atol=0)


@pytest.mark.parametrize("taught", [0, 1])
def test_nothing_is_shared_between_modalities(taught):
    net = ModalityCamNet(2, channels=(4, 8))
    image = torch.rand(2, 2, 16, 16, requires_grad=True)
    net(image)[:, 2 * taught : 2 * taught + 2].square().mean().backward()
    moved = [any(p.grad is not None and p.grad.any() for p in one.parameters()) for one in net.networks]
    assert moved == [taught == 0, taught == 1]
    assert image.grad[:, taught].any() and not image.grad[:, 1 - taught].any()


@SHAPES
def test_average_pooling_of_the_maps_is_a_linear_layer_behind_pooled_features(arguments, stride):
    net, seen = CamNet(**arguments).eval(), []
    net.dropout.register_forward_hook(lambda module, args, features: seen.append(features))
    scores = pool_scores(net(torch.rand(2, 1, 16, 16)), 1)
    pooled = nn.functional.linear(seen[0].mean(dim=(2, 3)), net.head.weight[:, :, 0, 0])
    torch.testing.assert_close(scores, pooled)
    assert net.head.bias is None


@SHAPES
def test_every_weight_is_used(arguments, stride):
    net = CamNet(**arguments)
    net(torch.rand(2, 1, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.any() for p in net.parameters() if p.ndim == 4)


def test_without_a_decoder_a_map_depends_on_a_neighborhood_only():
    net = CamNet(channels=(4, 8)).eval()
    image = torch.rand(1, 1, 96, 96, requires_grad=True)
    net(image)[0, 1, 12, 12].backward()
    rows = image.grad[0, 0].any(dim=1).nonzero().flatten()
    assert 48 - 32 < rows.min() and rows.max() < 48 + 32
    assert image.grad[0, 0, 48, 48] != 0


def test_features_are_dropped_in_training_only():
    net, image = CamNet(channels=(4, 16), dropout=0.5), torch.rand(1, 1, 32, 32)
    assert not torch.equal(net(image), net(image))
    net.eval()
    torch.testing.assert_close(net(image), net(image), rtol=0, atol=0)


@SHAPES
def test_torchscript_equals_eager(arguments, stride):
    net = ModalityCamNet(2, **arguments).eval()
    scripted = torch.jit.script(net)
    for size in (16, 32):
        image = torch.rand(1, 2, size, 16)
        torch.testing.assert_close(scripted(image), net(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("widths", "stride"), [((1, 4), 2), ((4, 8), 2), ((4, 8), 1), ((4, 4), 1), ((4, 4), 2)]
)
def test_a_residual_block_is_the_one_of_monai(widths, stride):
    stock = UnetResBlock(2, *widths, 3, stride, "batch", ("relu", {"inplace": True})).double()
    ours = ResidualBlock(*widths, stride).double()
    ours.load_state_dict(stock.state_dict())
    image = torch.randn(3, widths[0], 9, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(image), stock(image))
    torch.testing.assert_close(ours.eval()(image), stock.eval()(image))


def test_weights_come_back_from_a_checkpoint():
    saved, fresh = (ModalityCamNet(2, channels=(4, 8)).eval() for _ in range(2))
    image = torch.rand(1, 2, 16, 16)
    assert not torch.equal(saved(image), fresh(image))
    fresh.load_state_dict(saved.state_dict())
    torch.testing.assert_close(fresh(image), saved(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("channels", "stride", "message"),
    [
        ((4, 8), 8, r"map_stride among \[2, 4\], those of \(4, 8\), got 8"),
        ((4, 8), 3, r"map_stride among \[2, 4\], those of \(4, 8\), got 3"),
        ((4, 8, 8), 0, r"map_stride among \[1, 2, 4\], those of \(4, 8, 8\), got 0"),
    ],
)
def test_says_which_strides_the_levels_reach(channels, stride, message):
    with pytest.raises(ValueError, match=message):
        CamNet(channels, stride)


def test_says_that_there_is_a_modality():
    with pytest.raises(ValueError, match="Expected modalities >= 1, got 0"):
        ModalityCamNet(0)


@pytest.mark.parametrize("given", [1, 3])
def test_says_how_many_modalities_it_takes(given):
    with pytest.raises(ValueError, match=f"Expected an image of 2 modalities, got {given}"):
        ModalityCamNet(2, channels=(4, 8))(torch.rand(1, given, 8, 8))
