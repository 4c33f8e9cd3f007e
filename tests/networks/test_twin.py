import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from monai_ext.networks import TwinNetwork


def unet(spatial_dims: int = 2) -> nn.Module:
    return UNet(spatial_dims, in_channels=2, out_channels=3, channels=(4, 8), strides=(2,), norm="batch")


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("space", [(8, 12), (8, 4, 12)], ids=["2d", "3d"])
def test_logits_are_those_of_the_first_then_of_the_second(space, batch):
    first, second = unet(len(space)).eval(), unet(len(space)).eval()
    image = torch.rand(batch, 2, *space)
    logits = TwinNetwork(first, second).eval()(image)
    assert logits.shape == (batch, 2, 3, *space)
    torch.testing.assert_close(logits[:, 0], first(image), rtol=0, atol=0)
    torch.testing.assert_close(logits[:, 1], second(image), rtol=0, atol=0)


@pytest.mark.parametrize("taught", [0, 1])
def test_the_loss_of_one_leaves_the_other_alone(taught):
    twins = TwinNetwork(unet(), unet())
    twins(torch.rand(2, 2, 8, 8))[:, taught].square().mean().backward()
    moved = [any(p.grad.any() for p in net.parameters()) for net in (twins.first, twins.second)]
    assert moved == [taught == 0, taught == 1]


def test_two_networks_that_are_built_one_after_the_other_start_differently():
    logits = TwinNetwork(unet(), unet()).eval()(torch.rand(1, 2, 8, 8))
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 0.01


def test_torchscript_equals_eager():
    twins = TwinNetwork(unet(), unet()).eval()
    scripted = torch.jit.script(twins)
    for size in (8, 16):
        image = torch.rand(1, 2, size, 8)
        torch.testing.assert_close(scripted(image), twins(image), rtol=0, atol=0)


def test_weights_of_both_come_back_from_a_checkpoint():
    saved, fresh = TwinNetwork(unet(), unet()).eval(), TwinNetwork(unet(), unet()).eval()
    fresh.load_state_dict(saved.state_dict())
    image = torch.rand(1, 2, 8, 8)
    torch.testing.assert_close(fresh(image), saved(image), rtol=0, atol=0)


def test_bfloat16_networks_give_bfloat16():
    twins = TwinNetwork(nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)).bfloat16()
    assert twins(torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_says_that_one_network_is_no_pair():
    net = unet()
    with pytest.raises(ValueError, match="Expected two networks, got the same one twice"):
        TwinNetwork(net, net)
