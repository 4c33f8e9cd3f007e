import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from monai_ext.inferers import autocast
from monai_ext.inferers.autocast import AutocastInferer


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Conv2d(2, 3, 3, padding=1).eval()


class Spy(nn.Module):
    """Keeps what it was given and under which type a product is computed."""

    def forward(self, image, *args, **kwargs):
        self.image, self.args, self.kwargs = image, args, kwargs
        self.dtype = (image.flatten(1) @ image.flatten(1).mT).dtype
        return image.bfloat16()


def test_without_autocast_the_network_is_called_as_it_is(net):
    image = torch.rand(2, 2, 5, 6)
    torch.testing.assert_close(AutocastInferer(enabled=False)(image, net), net(image))


def test_with_autocast_logits_are_near_and_float32(net):
    image = torch.rand(2, 2, 5, 6)
    logits = AutocastInferer(enabled=True)(image, net)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, net(image), atol=0.02, rtol=0.02)
    assert torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize(("enabled", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_products_are_computed_in_bfloat16_if_enabled(enabled, dtype):
    spy = Spy()
    assert AutocastInferer(enabled)(torch.rand(1, 2, 4, 4), spy).dtype == torch.float32
    assert spy.dtype == dtype and spy.image.dtype == torch.float32


@pytest.mark.parametrize("units", [True, False])
def test_by_default_it_is_enabled_where_the_device_has_units_for_it(units, monkeypatch):
    monkeypatch.setattr(autocast, "computes_bfloat16", lambda device: units)
    spy = Spy()
    AutocastInferer()(torch.rand(1, 2, 4, 4), spy)
    assert spy.dtype == (torch.bfloat16 if units else torch.float32)


def test_images_are_channels_last_and_volumes_are_not():
    spy, inferer = Spy(), AutocastInferer()
    inferer(torch.rand(2, 3, 4, 5), spy)
    assert spy.image.is_contiguous(memory_format=torch.channels_last)
    inferer(torch.rand(2, 3, 4, 5, 6), spy)
    assert spy.image.is_contiguous()


def test_the_network_gets_a_plain_tensor_and_further_arguments():
    spy = Spy()
    logits = AutocastInferer()(MetaTensor(torch.rand(1, 1, 3, 3)), spy, 1, flag=2)
    assert type(spy.image) is torch.Tensor and type(logits) is torch.Tensor
    assert (spy.args, spy.kwargs) == ((1,), {"flag": 2})


def test_gradients_reach_the_weights(net):
    AutocastInferer()(torch.rand(2, 2, 5, 6), net).square().mean().backward()
    assert net.weight.grad.dtype == torch.float32 and net.weight.grad.any()
