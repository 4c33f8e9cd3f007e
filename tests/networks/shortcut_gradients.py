"""As a script: output and gradients of the residual block of ``ModalityCamNet`` beside those of MONAI's.

The reference is computed without oneDNN, whose backward pass of MONAI's strided shortcut writes beyond its
memory on some processors.
"""

import torch
from monai.networks.blocks import UnetResBlock
from torch import Tensor, nn

from monai_ext.networks.modality_cam_net import ResidualBlock
from tests.processes import enter


def results(block: nn.Module, image: Tensor, name: str) -> list[Tensor]:
    """Output, gradient of the image and gradients of all weights."""
    image = image.detach().requires_grad_()
    enter(f"forward pass of {name}")
    features = block(image)
    enter(f"backward pass of {name}")
    features.square().mean().backward()
    return [features.detach(), image.grad, *(weight.grad for weight in block.parameters())]


def compare(widths: tuple[int, int], size: int) -> None:
    """Two blocks behind each other, as the network has them, on one modality of a channels_last batch."""
    torch.manual_seed(0)
    pairs = [(1, widths[0]), widths]
    stock = nn.Sequential(*(UnetResBlock(2, a, b, 3, 2, "batch") for a, b in pairs))
    ours = nn.Sequential(*(ResidualBlock(a, b, 2) for a, b in pairs))
    ours.load_state_dict(stock.state_dict())
    for block in (*stock, *ours):
        block.lrelu = nn.SiLU()  # without a kink, on whose other side rounding could put a pixel
    image = torch.rand(4, 3, size, size).to(memory_format=torch.channels_last)[:, 1:2]
    name = f"widths {widths}, size {size}"
    with torch.backends.mkldnn.flags(enabled=False):
        wanted = results(stock.double(), image.double(), f"the reference, {name}")
    found = results(ours.to(memory_format=torch.channels_last), image, name)
    enter(f"comparison of {name}")
    for one, other in zip(found, wanted, strict=True):
        off, norm = (one - other).norm().item(), other.norm().item()
        assert off < 1e-3 * norm + 1e-6, f"values of shape {tuple(one.shape)} differ by {off} of {norm}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for widths in ((4, 8), (32, 64)):
        for size in (32, 128):
            compare(widths, size)
    enter("end")
