"""A network on a batch and on a spatially changed copy of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from monai.inferers import Inferer
from torch import Tensor

from monai_ext.inferers.autocast import AutocastInferer


class TwoViews(NamedTuple):
    """Maps (B, C, H, W) of a batch in two views that should agree; T is the spatial change.

    Attributes:
        maps: of the images as they are.
        moved_maps: these maps, changed by T.
        maps_of_moved: of the images changed by T.
        valid: (B, 1, H, W), whether a pixel of the latter two comes from inside the image.
    """

    maps: Tensor
    moved_maps: Tensor
    maps_of_moved: Tensor
    valid: Tensor


class TwoViewInferer(Inferer):
    r"""Run a network on images and on the same images changed by a random T.

    .. math:: \big(f(x),\; T(f(x)),\; f(T(x))\big)

    T is drawn at each call and is the same for all channels, so modalities stay aligned. Runs in bfloat16
    where the device has units for it, see ``AutocastInferer``.

    Args:
        draw_view: called with the number of images, gives T: a callable for tensors (B, C, H, W) with a
            method ``valid``, such as ``RandomSpatialView`` makes.
        autocast: whether to run in bfloat16; None: where the device computes in it by itself.

    Shape:
        - inputs: :math:`(B, M, H, W)`.
        - returns: ``TwoViews``.
    """

    def __init__(self, draw_view: Callable[[int], Any], autocast: bool | None = None) -> None:
        super().__init__()
        self.draw_view = draw_view
        self.base = AutocastInferer(autocast)

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> TwoViews:
        view = self.draw_view(len(inputs))
        maps = self.base(inputs, network, *args, **kwargs)
        maps_of_moved = self.base(view(inputs), network, *args, **kwargs)
        return TwoViews(maps, view(maps), maps_of_moved, view.valid(maps))
