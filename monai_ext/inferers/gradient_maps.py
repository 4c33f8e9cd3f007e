"""Class activation maps by gradients, in place of a network's own."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers import Inferer
from monai.visualize import GradCAM, GradCAMpp
from torch import Tensor, nn

from monai_ext.cams import CLASSES, pool_scores
from monai_ext.inferers.autocast import AutocastInferer

METHODS = {"gradcam": GradCAM, "gradcam++": GradCAMpp}


class GradientMapInferer(Inferer):
    r"""Give the maps of MONAI's Grad-CAM or Grad-CAM++ where a ``ModalityCamNet`` would give its score maps.

    .. math:: M_k = \max\Big(0, \sum_c w_{kc} F_c\Big), \qquad
        w_{kc} = \frac{1}{N} \sum_p \frac{\partial s_k}{\partial F_c(p)}

    with :math:`F` the N positions of the features of a layer and :math:`s_k` the score of class k, the mean
    of the highest values of its map; Grad-CAM++ weights the positions of the sum. The layer before the last
    gives Grad-CAM the positive part of the network's own maps, times a constant: the head is linear. Earlier
    layers can be finer, and are not what the score is read from.

    Args:
        method: "gradcam" or "gradcam++".
        target_layer: name of a module within a ``CamNet``, such as ``features.1`` (the last but the head) or
            ``down.0``.
        pool_share: as in the loss.
        inferer: how images are given to it, such as ``AveragingInferer``; default in float32, since powers of
            small gradients vanish in bfloat16.

    Shape:
        - inputs: :math:`(B, M, H, W)`.
        - returns: :math:`(B, M K, h, w)` >= 0, h and w being those of the layer, or as ``inferer`` says.

    Raises:
        ValueError: if the method or the layer is unknown, or the network is another.

    References:
        Selvaraju et al., *Grad-CAM*, ICCV 2017, arXiv 1610.02391. Chattopadhyay et al., *Grad-CAM++*, WACV
        2018, arXiv 1710.11063.
    """

    def __init__(
        self,
        method: Literal["gradcam", "gradcam++"] = "gradcam",
        target_layer: str = "features.1",
        pool_share: float = 0.04,
        inferer: Inferer | None = None,
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"Expected method among {', '.join(METHODS)}, got {method!r}.")
        self.explainer = METHODS[method]
        self.target_layer = target_layer
        self.pool_share = pool_share
        self.inferer = inferer or AutocastInferer(False)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        parts = getattr(network, "networks", None)
        if not isinstance(parts, nn.ModuleList):
            raise ValueError(f"Expected a ModalityCamNet, got {type(network).__name__}.")
        explainers = [self.explain(part) for part in parts]

        def maps(images: Tensor) -> Tensor:  # one by one: MONAI's Grad-CAM++ fails on several
            return torch.cat([maps_of_one(explainers, image) for image in images.split(1)])

        with torch.enable_grad():
            return self.inferer(inputs, maps)

    def explain(self, network: nn.Module) -> GradCAM:
        """MONAI's explainer of a copy of the network, since it leaves hooks behind."""
        layers = [name for name, _ in network.named_modules() if name]
        if self.target_layer not in layers:
            raise ValueError(f"Expected target_layer among {', '.join(layers)}, got {self.target_layer!r}.")
        copied = copy.deepcopy(network)
        copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return self.explainer(PooledScores(copied, self.pool_share), f"network.{self.target_layer}")


def maps_of_one(explainers: Sequence[GradCAM], image: Tensor) -> Tensor:
    """Maps (1, M K, h, w) of one image (1, M, H, W)."""
    channels = image.detach().requires_grad_().split(1, dim=1)
    pairs = zip(explainers, channels, strict=True)
    maps = [explainer.compute_map(channel, k) for explainer, channel in pairs for k in range(CLASSES)]
    return torch.cat(maps, dim=1).detach()


class PooledScores(nn.Module):
    """A ``CamNet`` as a classifier: scores (B, K) of images (B, 1, H, W)."""

    def __init__(self, network: nn.Module, pool_share: float) -> None:
        super().__init__()
        self.network = network
        self.pool_share = pool_share

    def forward(self, image: Tensor) -> Tensor:
        return pool_scores(self.network(image), self.pool_share)
