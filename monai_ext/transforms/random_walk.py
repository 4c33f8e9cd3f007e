"""Let a coarse map follow the edges of an image."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import convert_to_numpy
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.segmentation import random_walker
from torch import Tensor

from monai_ext.cams import channel_that_is_there
from monai_ext.keys import IMAGE

BACKGROUND, OBJECT = 1, 2
"""Values of the seeds."""


class RandomWalkd(MapTransform):
    r"""Replace a map, slice by slice, by the probability that a random walker meets the object's seeds first.

    .. math:: r = \Big(\frac{\max_{\text{slice}} u}{\max_{\text{volume}} u}\Big)^\gamma \;
        \frac{1}{|S|} \sum_{(a, b) \in S} P_{a, b}

    with :math:`u` the map, smoothed across slices. In :math:`P_{a, b}` pixels above b times the largest value
    of their slice are seeds of the object, those below a times it seeds of the background. A walker from any
    other pixel steps to a neighbor with a probability in proportion to
    :math:`\exp(-\beta \, (x_p - x_q)^2 / (10 s^2))`, s being the standard deviation of the image x, so that
    it seldom crosses an edge. The mean over several pairs suits maps that are broader or narrower. With
    :math:`\gamma > 0` slices in which the map is low stay low: for volumes whose tags nobody knows.

    A slice in which the map is 0 stays 0; of one whose image is constant, only the seeds are kept.
    scikit-image's ``random_walker`` does the work. Not random (the probability is computed), not invertible;
    float32, computed on the CPU and given back on the device of the map, as ``MetaTensor`` for ``Invertd``.

    Args:
        keys: keys of maps (1, H, W, D) >= 0.
        channel: channel of the image whose edges count; another one that is there, if it is missing.
        seeds: S, pairs (a, b) with 0 <= a < b < 1. None of them: the map is left as it is.
        slice_power: :math:`\gamma`; 0 for slices that are known to show the object.
        beta: > 0; larger values keep closer to the edges.
        smoothing: standard deviation in pixels of a Gaussian filter of the image's slices, against noise.
        across_slices: standard deviation in slices of a Gaussian filter of the map along D.
        tags_key: key of tags (1, D), if they are known; slices with the tag 0 become 0.
        image_key: key of the image (M, H, W, D).

    Raises:
        ValueError: if a number is out of range, or the image has no such channel.

    References:
        Grady, *Random walks for image segmentation*, IEEE TPAMI 28(11), 2006.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channel: int = 0,
        seeds: Sequence[tuple[float, float]] = ((0.2, 0.9), (0.3, 0.8), (0.3, 0.9)),
        slice_power: float = 0.0,
        beta: float = 3000.0,
        smoothing: float = 0.7,
        across_slices: float = 1.0,
        tags_key: str | None = None,
        image_key: str = IMAGE,
    ) -> None:
        super().__init__(keys)
        if any(len(pair) != 2 or not 0 <= pair[0] < pair[1] < 1 for pair in seeds):
            raise ValueError(f"Expected seeds as pairs 0 <= a < b < 1, got {list(seeds)}.")
        if beta <= 0 or min(smoothing, across_slices, slice_power) < 0:
            raise ValueError(
                f"Expected beta > 0, and smoothing, across_slices and slice_power >= 0, got {beta}, "
                f"{smoothing}, {across_slices} and {slice_power}."
            )
        self.channel = channel
        self.seeds = list(seeds)
        self.slice_power = slice_power
        self.beta = beta
        self.smoothing = smoothing
        self.across_slices = across_slices
        self.tags_key = tags_key
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        if not self.seeds:
            return result
        image = convert_to_numpy(result[self.image_key], dtype=np.float64)
        shown = channel_that_is_there(image, self.channel)
        edges = gaussian_filter(image[shown], (self.smoothing, self.smoothing, 0))
        for key in self.key_iterator(result):
            cam = gaussian_filter(convert_to_numpy(result[key])[0], (0, 0, self.across_slices))
            largest = cam.max(axis=(0, 1))
            weights = (largest / max(largest.max(), np.finfo(np.float32).tiny)) ** self.slice_power
            if self.tags_key is not None:
                weights = weights * (convert_to_numpy(result[self.tags_key])[0] != 0)
            walked = [
                w * self.walk(cam[..., z], edges[..., z]) if w else 0 * cam[..., z]
                for z, w in enumerate(weights)
            ]
            walked_map = torch.as_tensor(np.stack(walked, axis=-1), dtype=torch.float32)[None]
            result[key] = MetaTensor(walked_map.to(result[key].device))
        return result

    def walk(self, cam: NDArray[np.float32], image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean probability (H, W) of the object in one slice."""
        largest = cam.max()
        if largest <= 0:
            return np.zeros(cam.shape)
        probs = [self.probability(cam / largest, image, low, high) for low, high in self.seeds]
        return np.asarray(np.mean(probs, axis=0))

    def probability(
        self, cam: NDArray[np.float32], image: NDArray[np.float64], low: float, high: float
    ) -> NDArray[np.float64]:
        """Probability (H, W) of the object in one slice, from the seeds of one pair."""
        seeds = np.zeros(cam.shape, np.int8)
        seeds[cam < low] = BACKGROUND
        seeds[cam > high] = OBJECT
        if not (seeds == BACKGROUND).any():
            return np.ones(cam.shape)
        if (seeds != 0).all() or image.std() == 0:
            return (seeds == OBJECT).astype(np.float64)
        scaled = image / image.std()  # mode "bf" is exact; iterative solvers do not converge at large beta
        found = random_walker(scaled, seeds, beta=self.beta, mode="bf", return_full_prob=True)
        return np.asarray(found[OBJECT - 1])
