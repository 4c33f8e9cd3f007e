"""Mixed precision on any device."""

from collections.abc import Callable
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor


class AutocastInferer(Inferer):
    """Run the network on a whole batch in bfloat16 where that is faster, and give float32 logits.

    MONAI's trainer autocasts on CUDA only; on a CPU with bfloat16 units this makes a training step about
    twice as fast. bfloat16 has float32's range, so no gradient scaler is needed. 2D images are laid out
    channels-last.

    Args:
        enabled: whether to autocast.

    Shape:
        - inputs: :math:`(B, M, *S)`.
        - returns: what the network gives, in float32.
    """

    def __init__(self, enabled: bool = True) -> None:
        super().__init__()
        self.enabled = enabled

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        image = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if image.ndim == 4:
            image = image.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            logits = network(image, *args, **kwargs)
        return logits.float()
