"""The labels of a training set that may be corrected, and what became of every voxel."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd
from torch import Tensor

from monai_ext.data.device_cache import DeviceCache
from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.images.problems import rounded_label
from monai_ext.images.writer import write_label
from monai_ext.keys import CASE, IMAGE, LABEL, SUPERVISION, Supervision

logger = logging.getLogger(__name__)


class Change(NamedTuple):
    """One correction of one item: voxels as positions in its flattened label, all on the CPU."""

    epoch: int
    item: int
    voxels: Tensor
    """(N,) int32."""
    old: Tensor
    """(N,) uint8."""
    new: Tensor
    """(N,) uint8."""


class LabelJournal:
    """Replace labels in a ``DeviceCache`` and record which voxels changed, when, from what to what.

    The record suffices to undo every change. It is what a checkpoint keeps: after a resume the labels are
    replayed upon those of the files, which must be the ones that the first run read.

    Args:
        cache: the training set; items whose supervision is "noisy" may be changed.

    Attributes:
        items: positions of the noisy items.
        changes: all changes so far, in order.

    Raises:
        InputError: if two noisy items have one name.

    State: the changes, and a digest of every noisy item's label as its file gave it, by the item's name.
    """

    def __init__(self, cache: DeviceCache) -> None:
        self.cache = cache
        kinds = [Supervision(item.get(SUPERVISION, Supervision.FULL)) for item in cache.data]
        self.items = [index for index, kind in enumerate(kinds) if kind is Supervision.NOISY]
        if not self.items:
            logger.warning('no item of the training list has supervision "noisy": labels stay as they are')
        names = Counter(self.name(item) for item in self.items)
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise InputError(
                f"Expected noisy items with different names, got {', '.join(twice[:5])} more than once; "
                f'give each of them another "{CASE}" in the datalist.'
            )
        self.digests = {self.name(item): digest(cache.volume(item)[1]) for item in self.items}
        self.changes: list[Change] = []

    def name(self, item: int) -> str:
        """Name of an item: its case, or the name of its image file."""
        found = self.cache.data[item]
        image = found[IMAGE][0] if isinstance(found[IMAGE], list | tuple) else found[IMAGE]
        return str(found.get(CASE) or Path(str(image)).name.removesuffix(".gz").removesuffix(".nii"))

    def replace(self, item: int, label: Tensor, epoch: int) -> int:
        """Give an item another label (1, *S) and return the number of voxels that changed.

        Raises:
            ValueError: if the item is not noisy, or the label is of another shape than the item's.
        """
        if item not in self.items:
            raise ValueError(
                f'Expected an item with supervision "noisy", got {self.name(item)}; mark it in the datalist.'
            )
        old = self._changed(item, []).flatten()
        self.cache.replace_label(item, label)
        new = label.flatten().to("cpu", torch.uint8)
        voxels = (old != new).nonzero().flatten()
        if len(voxels):
            self.changes.append(Change(epoch, item, voxels.int(), old[voxels], new[voxels]))
        return len(voxels)

    def original(self, item: int) -> Tensor:
        """The label (1, *S) as the file gave it, on the CPU."""
        changes = reversed(self.changes)
        return self._changed(item, [(c.voxels, c.old) for c in changes if c.item == item])

    def revert(self, item: int) -> None:
        """Undo all changes of an item and forget them."""
        self.cache.replace_label(item, self.original(item))
        self.changes = [change for change in self.changes if change.item != item]

    def changed_items(self) -> list[int]:
        """Items with at least one recorded change."""
        return sorted({change.item for change in self.changes})

    def write_corrected(self, folder: Path) -> None:
        """Write ``CASE.nii.gz`` for every changed item, on the grid of its label file.

        Both the first and the latest label come back from the network's grid by the inverse of the cache's
        transforms, each voxel taking the class with the largest interpolated share. Voxels where the two are
        equal keep the value of the file, the others get the latest class. The file that an earlier run left
        of an item that is unchanged is deleted.
        """
        folder.mkdir(parents=True, exist_ok=True)
        changed = set(self.changed_items())
        for item in self.items:
            path = folder / f"{self.name(item)}.nii.gz"
            if item not in changed:
                path.unlink(missing_ok=True)
                continue
            given = read_volume(self.cache.data[item][LABEL])
            first, latest = self._on_file_grid(item, self.original(item), self.cache.volume(item)[1].cpu())
            array = rounded_label(given.array)
            write_label(path, np.where(first != latest, latest, array), given)

    def _on_file_grid(self, item: int, *labels: Tensor) -> list[np.ndarray]:
        """Labels (1, *S) of an item on the grid of its image file, (X, Y, Z)."""
        transform: Any = self.cache.transform
        done = transform(dict(self.cache.data[item]))
        invert = Invertd("shares", transform, orig_keys=IMAGE, nearest_interp=False)
        codes = torch.stack(labels).unique()
        found = []
        for label in labels:
            shares = MetaTensor(torch.cat([label == code for code in codes]).float())
            if done[IMAGE].applied_operations:  # else there is nothing to invert, of which MONAI warns
                shares = invert({IMAGE: done[IMAGE], "shares": shares})["shares"]
            found.append(codes[shares.as_tensor().argmax(dim=0)].numpy())
        return found

    def _changed(self, item: int, changes: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """A copy of the current label (1, *S), on the CPU, with some (voxels, values) put in one by one."""
        label = self.cache.volume(item)[1]
        flat = label.to("cpu", copy=True).flatten()
        for voxels, values in changes:
            flat[voxels.long()] = values
        return flat.view(label.shape)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        changes = [(c.epoch, self.name(c.item), c.voxels, c.old, c.new) for c in self.changes]
        return {"digests": self.digests, "changes": changes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replay the recorded changes upon the labels that the files gave.

        Raises:
            InputError: naming the cases, if their labels are not those that the record was made on.
        """
        known, saved = self.digests, state["digests"]
        if other := sorted(name for name in known.keys() | saved if known.get(name) != saved.get(name)):
            named = ", ".join(other[:5]) + (", ..." if len(other) > 5 else "")
            raise InputError(
                "Expected the label files and preprocessing of the run that is resumed, got others for "
                f"{named} ({len(other)} of {len(known)} noisy cases); restore them, or start anew without "
                "resume."
            )
        for item in self.changed_items():
            self.revert(item)
        items = {self.name(item): item for item in self.items}
        self.changes = [Change(epoch, items[name], *rest) for epoch, name, *rest in state["changes"]]
        for item in self.changed_items():
            new = [(c.voxels, c.new) for c in self.changes if c.item == item]
            self.cache.replace_label(item, self._changed(item, new))


def digest(label: Tensor) -> str:
    """Digest (SHA-256) of a label map's voxels."""
    return hashlib.sha256(label.contiguous().cpu().numpy().tobytes()).hexdigest()
