"""Mixed precision on any device."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

logger = logging.getLogger(__name__)


class AutocastInferer(Inferer):
    """Run the network on a whole batch, in bfloat16 where the device has units for it; logits are float32.

    MONAI's trainer autocasts on CUDA only; on a CPU with bfloat16 units this makes a training step about
    twice as fast. bfloat16 has float32's range, so no gradient scaler is needed. 2D images are laid out
    channels-last.

    Args:
        enabled: whether to autocast; None: where the device computes in bfloat16 by itself.

    Shape:
        - inputs: :math:`(B, M, *S)`.
        - returns: what the network gives, in float32.
    """

    def __init__(self, enabled: bool | None = None) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        enabled = computes_bfloat16(image.device) if self.enabled is None else self.enabled
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=enabled):
            logits = network(image, *args, **kwargs)
        return logits.float()


@cache
def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has units for bfloat16: CUDA from capability 8 on, CPUs with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        found = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        asked = (
            getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
        found = device.type == "cpu" and any(ask is not None and ask() for ask in asked)
    logger.info(f"networks run in {'bfloat16' if found else 'float32'} on {device}")
    return found
