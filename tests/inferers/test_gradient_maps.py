import pytest
import torch
from monai.visualize import GradCAM, GradCAMpp

from monai_ext.cams import by_modality
from monai_ext.inferers import AutocastInferer, AveragingInferer, GradientMapInferer
from monai_ext.inferers.gradient_maps import PooledScores
from monai_ext.networks import ModalityCamNet

SHARE = 0.1
EXACT = AutocastInferer(False)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return ModalityCamNet(2, channels=(4, 8)).to(memory_format=torch.channels_last).eval()


def images(count=3):
    return torch.rand(count, 2, 32, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("share", [1, SHARE])
def test_grad_cam_of_the_last_features_is_the_networks_own_map(net, share):
    """The head is linear, so the gradient of every pooled position is the head's weight."""
    found = GradientMapInferer(pool_share=share, inferer=EXACT)(images(), net)
    own = net(images()).relu()
    assert own.any()
    torch.testing.assert_close(found * own[0, 0].numel(), own, atol=1e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("method", "monai"), [("gradcam", GradCAM), ("gradcam++", GradCAMpp)])
def test_every_map_is_that_of_monai_for_one_image_class_and_modality(net, method, monai):
    found = by_modality(GradientMapInferer(method, "down.0", SHARE, EXACT)(images(), net))
    assert found.shape == (3, 2, 2, 16, 16)
    plain = net.to(memory_format=torch.contiguous_format)
    with torch.enable_grad():
        one = images()[1:2, 1:2].requires_grad_()
        explained = monai(PooledScores(plain.networks[1], SHARE), "network.down.0").compute_map(one, 0)
    torch.testing.assert_close(found[1, 1, 0], explained[0, 0].detach())


@torch.no_grad()
def test_small_gradients_do_not_vanish(net):
    """Grad-CAM++ divides by their powers, which bfloat16 would make 0."""
    for part in net.networks:
        part.head.weight.mul_(1e-6)
    found = GradientMapInferer("gradcam++")(images(), net)
    assert found.isfinite().all() and found.any()


@torch.no_grad()
def test_the_network_is_left_as_it_was(net):
    before = net(images())
    GradientMapInferer("gradcam++")(images(), net)
    assert torch.equal(net(images()), before)
    assert not any(m._backward_hooks or m._forward_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())


@torch.no_grad()
def test_maps_can_be_averaged_over_flips(net):
    averaging = AveragingInferer(flip_axes=(0,), average="logits", autocast=False)
    found = GradientMapInferer("gradcam++", inferer=averaging)(images(), net)
    flipped = GradientMapInferer("gradcam++", inferer=averaging)(images().flip(2), net)
    assert found.shape == (3, 4, 32, 32)
    torch.testing.assert_close(found.flip(2), flipped)


def test_other_methods_layers_and_networks_are_refused(net):
    with pytest.raises(ValueError, match=r"Expected method among gradcam, gradcam\+\+, got 'cam'"):
        GradientMapInferer("cam")
    with pytest.raises(ValueError, match=r"Expected target_layer among down, .*head, got 'layer4'"):
        GradientMapInferer(target_layer="layer4")(images(), net)
    with pytest.raises(ValueError, match="Expected a ModalityCamNet, got Conv2d"):
        GradientMapInferer()(images(), torch.nn.Conv2d(2, 4, 3))
