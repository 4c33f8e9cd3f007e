"""Let a coarse map follow the edges of an image."""

from collections.abc import Hashable, Mapping

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

from monai_ext.keys import IMAGE

BACKGROUND, OBJECT = 1, 2
"""Values of the seeds."""


class RandomWalkd(MapTransform):
    r"""Replace a map, slice by slice, by the probability that a random walker meets the object's seeds first.

    Pixels above ``high`` times the largest value of their slice are seeds of the object, those below ``low``
    times it seeds of the background. A walker from any other pixel steps to a neighbor with a probability in
    proportion to :math:`\exp(-\beta \, (x_p - x_q)^2 / (10 s^2))`, s being the standard deviation of the
    image x, so that it seldom crosses an edge. A slice in which the map is 0 stays 0; of one whose image is
    constant, only the seeds are kept. scikit-image's ``random_walker`` does the work. Not random (the
    probability is computed), not invertible; float32 on the CPU, as ``MetaTensor`` for MONAI's ``Invertd``.

    Args:
        keys: keys of maps (1, H, W, D) >= 0.
        channel: channel of the image whose edges count; another one that is there, if it is missing.
        low: in [0, high).
        high: in (low, 1).
        beta: > 0; larger values keep closer to the edges.
        smoothing: standard deviation in pixels of a Gaussian filter of the image's slices, against noise.
        image_key: key of the image (M, H, W, D).

    Raises:
        ValueError: if a number is out of range.

    References:
        Grady, *Random walks for image segmentation*, IEEE TPAMI 28(11), 2006.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channel: int = 0,
        low: float = 0.25,
        high: float = 0.85,
        beta: float = 1000.0,
        smoothing: float = 0.7,
        image_key: str = IMAGE,
    ) -> None:
        super().__init__(keys)
        if not 0 <= low < high < 1:
            raise ValueError(f"Expected 0 <= low < high < 1, got {low} and {high}.")
        if beta <= 0 or smoothing < 0:
            raise ValueError(f"Expected beta > 0 and smoothing >= 0, got {beta} and {smoothing}.")
        self.channel = channel
        self.low, self.high = low, high
        self.beta = beta
        self.smoothing = smoothing
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        image = convert_to_numpy(result[self.image_key], dtype=np.float64)
        present = [c for c in (self.channel, *range(len(image))) if image[c].max() > image[c].min()]
        edges = gaussian_filter(image[(present or [self.channel])[0]], (self.smoothing, self.smoothing, 0))
        for key in self.key_iterator(result):
            cam = convert_to_numpy(result[key])[0]
            walked = [self.walk(cam[..., z], edges[..., z]) for z in range(cam.shape[-1])]
            result[key] = MetaTensor(torch.as_tensor(np.stack(walked, axis=-1), dtype=torch.float32)[None])
        return result

    def walk(self, cam: NDArray[np.float32], image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability (H, W) of the object in one slice."""
        largest = cam.max()
        if largest <= 0:
            return np.zeros(cam.shape)
        seeds = np.zeros(cam.shape, np.int8)
        seeds[cam < self.low * largest] = BACKGROUND
        seeds[cam > self.high * largest] = OBJECT
        if not (seeds == BACKGROUND).any():
            return np.ones(cam.shape)
        if (seeds != 0).all() or image.std() == 0:
            return (seeds == OBJECT).astype(np.float64)
        scaled = image / image.std()  # mode "bf" is exact; iterative solvers do not converge at large beta
        found = random_walker(scaled, seeds, beta=self.beta, mode="bf", return_full_prob=True)
        return np.asarray(found[OBJECT - 1])
