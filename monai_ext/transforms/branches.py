"""Take from what a network gives what is wanted: an output, or the probability of a class."""

from collections.abc import Hashable, Mapping, Sequence

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor


class SplitBranchesd(MapTransform):
    """Store the outputs that are stacked along the first axis under their own names.

    Not random, not invertible. Dtype is kept.

    Args:
        keys: one key, of a tensor (N, *C) that stacks N outputs.
        names: N keys for the outputs, in order; the input's own key may be among them.

    Raises:
        ValueError: if the tensor does not stack as many outputs as there are names.
    """

    def __init__(self, keys: KeysCollection, names: Sequence[str]) -> None:
        super().__init__(keys)
        self.names = tuple(names)

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            stacked = result[key]
            if len(stacked) != len(self.names):
                raise ValueError(
                    f"Expected {len(self.names)} outputs under {key!r} for {self.names}, "
                    f"got shape {tuple(stacked.shape)}."
                )
            result.update(zip(self.names, stacked, strict=True))
        return result


class ClassProbabilityd(MapTransform):
    """Replace logits by the softmax probability of one class, as a map from which a mask can be cut.

    Not random, not invertible; float32, as ``MetaTensor`` for MONAI's ``Invertd``.

    Args:
        keys: keys of logits (K, *S); they become maps (1, *S) in [0, 1].
        index: number of the class, 0 being the background.
    """

    def __init__(self, keys: KeysCollection, index: int = 1) -> None:
        super().__init__(keys)
        self.index = index

    def __call__(self, data: Mapping[Hashable, Tensor]) -> dict[Hashable, Tensor]:
        result = dict(data)
        for key in self.key_iterator(result):
            probs = result[key].float().softmax(dim=0)
            result[key] = MetaTensor(probs[self.index : self.index + 1])
        return result
