"""The probabilities behind a mask, on the grid of the image file."""

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Invertd, InvertibleTransform, MapTransform
from monai.utils import str2bool
from torch import Tensor

from monai_ext.keys import IMAGE

SUFFIX = "_prob"
"""What stands behind the key of logits or a map in the key of the probabilities."""


class ProbabilitiesInOriginalSpaced(MapTransform):
    """Keep the probabilities of the classes on the grid of the image file, if wanted.

    Softmax, then the inverse of the image's preprocessing. A map of one channel is taken for the probability
    of the object, and that of the background is the rest. Where they are not wanted, nothing is computed. Not
    random, not invertible.

    Args:
        keys: keys of logits (K, *S) or maps (1, *S) in [0, 1], which stay as they are; the probabilities,
            (K, *S0) or (2, *S0), are under the key with ``_prob`` behind it.
        preprocessing: the invertible transforms that made the network's image, applied to ``image``.
        wanted: whether to keep them; words such as "true" and "no" count as well.
    """

    def __init__(
        self, keys: KeysCollection, preprocessing: InvertibleTransform, wanted: bool | str = False
    ) -> None:
        super().__init__(keys)
        self.wanted = str2bool(wanted) if isinstance(wanted, str) else bool(wanted)
        self.invert = Invertd(SUFFIX, preprocessing, orig_keys=IMAGE, nearest_interp=False)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result) if self.wanted else ():
            given = result[key]
            scores = (given.as_tensor() if isinstance(given, MetaTensor) else given).float()
            probs = scores.softmax(dim=0) if len(scores) > 1 else torch.cat([1 - scores, scores])
            inverted = self.invert({IMAGE: result[IMAGE], SUFFIX: MetaTensor(probs)})
            result[f"{key}{SUFFIX}"] = inverted[SUFFIX]
        return result
