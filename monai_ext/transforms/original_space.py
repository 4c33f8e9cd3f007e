"""From a network's logits to the class map that a user wants."""

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Invertd, InvertibleTransform, MapTransform
from torch import Tensor

from monai_ext.keys import IMAGE

SHARE = "share"


class ClassesInOriginalSpaced(MapTransform):
    """Softmax, inverse of the image's preprocessing, which interpolates the probabilities, then arg max.

    The same as MONAI's ``Activationsd``, ``Invertd`` and ``AsDiscreted``, but class by class, so that the
    memory it takes on the grid of the file does not grow with the number of classes. Taking the maximum last
    keeps boundaries smooth that nearest-neighbor resampling of a class map would roughen; of two classes with
    equal probabilities the lower wins. Not random, not invertible.

    Args:
        keys: keys of logits (K, *S); they become class indices (1, *S0), uint8, on the grid of the image.
        preprocessing: the invertible transforms that made the network's image, applied to ``image``.
    """

    def __init__(self, keys: KeysCollection, preprocessing: InvertibleTransform) -> None:
        super().__init__(keys)
        self.invert = Invertd(SHARE, preprocessing, orig_keys=IMAGE, nearest_interp=False)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self._classes(result[key], result[IMAGE])
        return result

    def _classes(self, logits: Tensor, image: Tensor) -> MetaTensor:
        """Class indices (1, *S0) of logits (K, *S)."""
        plain = logits.as_tensor() if isinstance(logits, MetaTensor) else logits
        probs = plain.float().softmax(dim=0)
        first = self._on_file_grid(probs[0], image)
        largest, classes = first.as_tensor(), torch.zeros_like(first.as_tensor(), dtype=torch.uint8)
        for k in range(1, len(probs)):
            share = self._on_file_grid(probs[k], image).as_tensor()
            classes.masked_fill_(share > largest, k)
            largest = torch.maximum(largest, share)
        return MetaTensor(classes).copy_meta_from(first)

    def _on_file_grid(self, share: Tensor, image: Tensor) -> MetaTensor:
        """The probabilities (1, *S0) of one class (*S)."""
        inverted: MetaTensor = self.invert({IMAGE: image, SHARE: MetaTensor(share[None])})[SHARE]
        return inverted
