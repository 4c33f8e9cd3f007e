"""From a network's logits to the class map that a user wants."""

from monai.config import KeysCollection
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, InvertibleTransform

from monai_ext.keys import IMAGE


class ClassesInOriginalSpaced(Compose):
    """Softmax, inverse of the image's preprocessing, which interpolates the probabilities, then arg max.

    MONAI's ``Activationsd``, ``Invertd`` and ``AsDiscreted`` with the arguments that every bundle gives
    them. Not random, not invertible. Taking the maximum last keeps boundaries smooth that nearest-
    neighbor resampling of a class map would roughen.

    Args:
        keys: keys of logits (K, *S); they become class indices (1, *S0) on the grid of the image file.
        preprocessing: the invertible transforms that made the network's image, applied to ``image``.
    """

    def __init__(self, keys: KeysCollection, preprocessing: InvertibleTransform) -> None:
        super().__init__(
            [
                Activationsd(keys, softmax=True),
                Invertd(keys, preprocessing, orig_keys=IMAGE, nearest_interp=False),
                AsDiscreted(keys, argmax=True),
            ]
        )
