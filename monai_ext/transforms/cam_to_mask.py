"""From score maps of several modalities to one map of the object, and from that to a mask."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import AsDiscrete, Invertd, InvertibleTransform, MapTransform
from torch import Tensor
from torch.nn.functional import interpolate

from monai_ext.cams import (
    EPSILON,
    Component,
    activation,
    by_modality,
    keep_component,
    modality_weights,
    peak_of,
    pool_scores,
    scale_to_unit_range,
)
from monai_ext.keys import CAM_PREFIX, IMAGE, MAP_SUFFIX, TAGS, UNLABELED

Fusion = Literal["mean", "max", "confidence"]


def fuse_modalities(
    maps: Tensor,
    present: Tensor,
    fusion: Fusion = "mean",
    scale_by: Literal["volume", "slice"] = "volume",
    pool_share: float = 0.04,
    tag_threshold: float = 0.0,
    weights: Sequence[float] | None = None,
) -> Tensor:
    r"""One map of the object from the score maps of all modalities.

    .. math:: u = [\bar p > t] \; \sum_m w_m \hat c_m, \qquad \bar p = \sum_m w_m p_m

    with :math:`\hat c_m` the activation map of modality m, divided by its maximum in the volume, or scaled to
    [0, 1] in each slice for itself, :math:`p_m` the probability of the tag by the slice's pooled scores, and
    :math:`w_m` equal weights ("mean") or weights in proportion to :math:`p_m` ("confidence"); "max" takes the
    largest of the maps instead of a sum. A slice whose :math:`\bar p` is at most t is empty.

    With ``weights``, these are the :math:`w_m` of "mean", and factors of those of "confidence"; modalities of
    the weight 0 do not take part in "max". Where all modalities at hand have the weight 0, they count alike.

    Args:
        maps: score maps (N, M K, h, w) of N slices.
        present: (M,) bool, whether there is an image of the modality; the others take no part.
        fusion: how maps become one.
        scale_by: "volume", so that a slice without the object stays dark beside one with it, or "slice", as
            published, where t must keep empty slices empty.
        pool_share: as in the loss.
        tag_threshold: t.
        weights: M numbers >= 0, or None for equal ones.

    Returns:
        (N, h, w) in [0, 1].

    Raises:
        ValueError: if the weights are not as described.
    """
    chosen = modality_weights(weights, len(present)).to(maps)
    if not (chosen * present.to(maps)).any():
        chosen = torch.ones_like(chosen)
    chosen = chosen[present]
    maps = by_modality(maps)[:, present].flatten(1, 2)
    probs = pool_scores(by_modality(maps), pool_share).softmax(dim=2)[:, :, 1]
    cams = activation(maps)
    if scale_by == "slice":
        cams = scale_to_unit_range(cams)
    else:
        cams = cams / cams.amax(dim=(0, 2, 3), keepdim=True).clamp_min(EPSILON)
    shares = chosen * (probs if fusion == "confidence" else torch.ones_like(probs))
    shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(EPSILON)
    if fusion == "max":
        fused = cams[:, chosen > 0].amax(dim=1)
    else:
        fused = (cams * shares[:, :, None, None]).sum(dim=1)
    return fused * ((probs * shares).sum(dim=1) > tag_threshold)[:, None, None]


class FuseModalityMapsd(MapTransform):
    """Fuse the score maps of a volume, see ``fuse_modalities``, and bring them to the size of its image.

    A modality counts as missing if its channel of the image is constant. Not random, not invertible.

    Args:
        keys: keys of score maps (M K, h, w, D); they become maps (1, H, W, D) in [0, 1], float32, each a
            ``MetaTensor``, because MONAI's ``Invertd`` passes over plain tensors.
        modalities: names of the M modalities. The map of each alone is stored too, as ``cam_NAME``; it is 0
            for a missing one. None: only the fused map.
        fusion: "mean", "max" or "confidence".
        scale_by: "volume" or "slice".
        pool_share: as in the loss.
        tag_threshold: probability of the tag above which a slice can have an object.
        weights: of the modalities, M numbers >= 0; None: equal.
        image_key: key of the image (M, H, W, D) that the network saw.

    Raises:
        ValueError: if ``fusion`` or ``scale_by`` is another word, there are not as many names or weights as
            channels, or no modality has an image.
    """

    def __init__(
        self,
        keys: KeysCollection,
        modalities: Sequence[str] | None = None,
        fusion: Fusion = "mean",
        scale_by: Literal["volume", "slice"] = "volume",
        pool_share: float = 0.04,
        tag_threshold: float = 0.0,
        weights: Sequence[float] | None = None,
        image_key: str = IMAGE,
    ) -> None:
        super().__init__(keys)
        if fusion not in ("mean", "max", "confidence"):
            raise ValueError(f"Expected fusion mean, max or confidence, got {fusion!r}.")
        if scale_by not in ("volume", "slice"):
            raise ValueError(f"Expected scale_by volume or slice, got {scale_by!r}.")
        self.modalities = list(modalities or ())
        self.fuse = partial(
            fuse_modalities,
            fusion=fusion,
            scale_by=scale_by,
            pool_share=pool_share,
            tag_threshold=tag_threshold,
            weights=None if weights is None else [float(w) for w in weights],
        )
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        image = result[self.image_key]
        channels = plain(image).flatten(1)
        present = (channels.amax(dim=1) > channels.amin(dim=1)).cpu()
        if not present.any():
            raise ValueError("Expected an image of at least one modality, got constant channels only.")
        if self.modalities and len(self.modalities) != len(present):
            names = ", ".join(self.modalities)
            raise ValueError(f"Expected {len(present)} modalities, one a channel, got {names}.")
        size = (int(image.shape[1]), int(image.shape[2]))
        for key in self.key_iterator(result):
            maps = plain(result[key]).movedim(-1, 0).float()
            result[key] = self.map_of(maps, present, size)
            for number, name in enumerate(self.modalities):
                alone = torch.arange(len(present)) == number
                cam = self.map_of(maps, alone, size)
                result[f"{CAM_PREFIX}{name}"] = cam * bool(present[number])
        return result

    def map_of(self, maps: Tensor, chosen: Tensor, size: tuple[int, int]) -> Tensor:
        """Map (1, H, W, D) of some modalities."""
        fused = self.fuse(maps, chosen.to(maps.device))
        larger = interpolate(fused[:, None], size, mode="bilinear", align_corners=False)
        return MetaTensor(larger.movedim(0, -1))


class MaskInOriginalSpaced(MapTransform):
    """Inverse of the image's preprocessing, which interpolates the map, then threshold and one component.

    MONAI's ``Invertd`` and ``AsDiscrete``, then ``keep_component``. The map on the grid of the image file
    stays under the key with ``_map`` behind it. Not random, not invertible.

    Args:
        keys: keys of maps (1, *S) in [0, 1], as ``FuseModalityMapsd`` makes them; they become masks (1, *S0)
            of 0 and 1 on the grid of the image file.
        preprocessing: the invertible transforms that made the network's image, applied to ``image``.
        threshold: in (0, 1]; a voxel of this value or above belongs to the object.
        component: which connected part of the mask is kept: "highest", "largest" or "all".

    Raises:
        ValueError: if the threshold is out of range, or ``component`` another word.
    """

    def __init__(
        self,
        keys: KeysCollection,
        preprocessing: InvertibleTransform,
        threshold: float,
        component: Component = "highest",
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"Expected 0 < threshold <= 1, got {threshold}.")
        super().__init__(keys)
        keep_component(torch.zeros(1), component)  # refuses other words
        self.invert = Invertd(self.keys, preprocessing, orig_keys=IMAGE, nearest_interp=False)
        self.discrete = AsDiscrete(threshold=threshold)
        self.component = component

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = self.invert(data)
        for key in self.key_iterator(result):
            cam = result[key]
            result[f"{key}{MAP_SUFFIX}"] = cam
            mask = torch.as_tensor(self.discrete(cam.clone()))
            result[key] = keep_component(mask, self.component, peak_of(plain(cam)))
        return result


class MapToPseudoLabeld(MapTransform):
    """Make labels to learn from out of a map and the tags of its slices, with 255 where the map is undecided.

    In slices with the tag, voxels above ``high`` become 1, those below ``low`` 0 and those between 255; if
    none is above ``high``, the map has missed the object, and the whole slice is 255. Slices without the tag
    become 0, slices of unknown tag (255) are 255 wherever the map is not below ``low``. Not random, not
    invertible.

    Args:
        keys: keys of maps (1, *S0) in [0, 1]; they become label maps (1, *S0).
        low: in [0, high].
        high: in [low, 1].
        tags_key: key of the tags (1, D) of the slices of the network's image, in whose order they are.
        image_key: key of that image; where its last axis runs against that of the map, so do the tags.

    Raises:
        ValueError: if the thresholds are not as described.
    """

    def __init__(
        self, keys: KeysCollection, low: float, high: float, tags_key: str = TAGS, image_key: str = IMAGE
    ) -> None:
        super().__init__(keys)
        if not 0 <= low <= high <= 1:
            raise ValueError(f"Expected 0 <= low <= high <= 1, got {low} and {high}.")
        self.low, self.high = low, high
        self.tags_key, self.image_key = tags_key, image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            given, cam = result[key], plain(result[key])
            tags = plain(torch.as_tensor(result[self.tags_key])).to(cam.device)[0]
            if _run_against(given, result.get(self.image_key)):
                tags = tags.flip(0)
            label = torch.where(cam < self.low, 0.0, float(UNLABELED))
            label = torch.where((cam > self.high) & (tags == 1), 1.0, label)
            missed = (tags == 1) & (cam.flatten(0, -2).amax(dim=0) <= self.high)
            label = torch.where(missed, float(UNLABELED), label)
            label = torch.where(tags == 0, 0.0, label)
            meta = given.meta if isinstance(given, MetaTensor) else None
            result[key] = MetaTensor(label, meta=meta)  # which says under what name it is saved
        return result


def _run_against(first: Any, second: Any) -> bool:
    """Whether the last axes of two images point in opposite directions."""
    if not (isinstance(first, MetaTensor) and isinstance(second, MetaTensor)):
        return False
    return float(first.affine[:3, 2] @ second.affine[:3, 2].to(first.affine)) < 0


def plain(data: Tensor) -> Tensor:
    """The tensor without MONAI's metadata."""
    return data.as_tensor() if isinstance(data, MetaTensor) else data
