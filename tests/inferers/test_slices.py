import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SliceInferer
from torch import nn

from monai_ext.inferers import AveragingInferer, SliceBatchInferer


class Two(nn.Module):
    """Two outputs stacked, as a network with two decoders gives."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)

    def forward(self, image):
        return self.conv(image).unflatten(1, (2, 3))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)).eval()


def volumes(*, batch=2, depth=7):
    return torch.rand(batch, 2, 6, 5, depth, generator=torch.Generator().manual_seed(1))


def slice_by_slice(image, net):
    with torch.no_grad():
        return torch.stack([net(image[..., z]) for z in range(image.shape[-1])], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3, 7, 14, 50])
@pytest.mark.parametrize("depth", [1, 7])
def test_equals_a_loop_over_slices(net, batch_size, depth):
    image = volumes(depth=depth)
    logits = SliceBatchInferer(batch_size, autocast=False)(image, net)
    torch.testing.assert_close(logits, slice_by_slice(image, net))


@torch.no_grad()
def test_equals_the_sliding_window_of_monai(net):
    image = volumes()
    reference = SliceInferer(roi_size=(6, 5), spatial_dim=2, sw_batch_size=4)(image, net)
    torch.testing.assert_close(SliceBatchInferer(4, autocast=False)(image, net), reference)


@torch.no_grad()
def test_stacked_outputs_stay_stacked():
    torch.manual_seed(0)
    net, image = Two().eval(), volumes()
    logits = SliceBatchInferer(5, autocast=False)(image, net)
    assert logits.shape == (2, 2, 3, 6, 5, 7)
    torch.testing.assert_close(logits, slice_by_slice(image, net))


@torch.no_grad()
def test_no_forward_pass_has_more_slices_than_allowed(net):
    sizes = []
    net.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    SliceBatchInferer(4)(volumes(), net)
    assert sizes == [4, 4, 4, 2]


@torch.no_grad()
@pytest.mark.parametrize("autocast", [True, False])
def test_a_tensor_with_metadata_gives_plain_float32(net, autocast):
    image = volumes()
    logits = SliceBatchInferer(4, autocast)(MetaTensor(image), net)
    assert type(logits) is torch.Tensor and logits.dtype == torch.float32
    torch.testing.assert_close(logits, slice_by_slice(image, net), atol=0.02, rtol=0.02)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [3, 50])
def test_slices_are_given_to_the_network_by_the_inferer_for_slices(net, batch_size):
    image, averaging = volumes(), AveragingInferer((1, 1.5), (0,), 2, autocast=False, average="logits")
    logits = SliceBatchInferer(batch_size, slice_inferer=averaging)(image, net)
    expected = [averaging(image[..., z], net) for z in range(image.shape[-1])]
    torch.testing.assert_close(logits, torch.stack(expected, dim=-1))


@torch.no_grad()
def test_maps_of_a_lower_resolution_keep_it_without_an_inferer_for_slices():
    maps = SliceBatchInferer(4, autocast=False)(volumes(), nn.AvgPool2d(2))
    assert maps.shape == (2, 2, 3, 2, 7)
    torch.testing.assert_close(maps, slice_by_slice(volumes(), nn.AvgPool2d(2)))


def test_says_that_volumes_are_expected(net):
    with pytest.raises(ValueError, match=r"volumes \(B, M, H, W, D\), got \(2, 2, 6, 5\)"):
        SliceBatchInferer()(torch.zeros(2, 2, 6, 5), net)


def test_says_what_a_batch_size_is():
    with pytest.raises(ValueError, match="Expected batch_size >= 1, got 0"):
        SliceBatchInferer(0)
