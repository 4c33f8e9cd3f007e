"""Take apart what a network with several outputs gives."""

from collections.abc import Hashable, Mapping, Sequence

from monai.config import KeysCollection
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
