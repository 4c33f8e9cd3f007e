"""Batches with a fixed mixture of supervision kinds, drawn and augmented on the device."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from monai_ext.data.device_cache import DeviceCache
from monai_ext.errors import InputError
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, TAGS, Supervision

POSITIVE, NEGATIVE = "positive", "negative"
"""Entries with at least one tag 1, and entries whose tags are all 0; a mixture may name them like kinds."""

logger = logging.getLogger(__name__)


def shares_of_batch(
    batch_size: int, weights: Mapping[str, float], present: Mapping[str, int]
) -> dict[str, int]:
    """Divide a batch among the supervision kinds that the data set has, by largest remainder.

    Args:
        batch_size: B.
        weights: wanted proportion of each kind; kinds that are not named are not drawn.
        present: number of entries of each kind in the data set.

    Returns:
        Items per batch for each kind drawn. What a missing kind was to have goes to the others in proportion;
        if none of the named kinds is present, all that are present share by their numbers of entries.
    """
    usable = {kind: w for kind, w in weights.items() if w > 0 and present.get(kind, 0) > 0}
    usable = usable or {kind: float(n) for kind, n in present.items() if n > 0}
    total = sum(usable.values())
    exact = {kind: batch_size * w / total for kind, w in usable.items()}
    shares = {kind: int(x) for kind, x in exact.items()}
    by_remainder = sorted(exact, key=lambda k: exact[k] - shares[k], reverse=True)
    for kind in by_remainder[: batch_size - sum(shares.values())]:
        shares[kind] += 1
    return {kind: n for kind, n in shares.items() if n}


class BatchLoader:
    """Iterate over batches of a ``DeviceCache``, each with the same number of items of every kind.

    In an epoch each kind is passed through in random order before any of its entries comes again. Order and
    augmentation depend only on (``seed``, ``epoch``, process rank), so a run that is resumed at an epoch
    draws what the uninterrupted one drew; ``EpochSeed`` keeps ``epoch`` up to date.

    Args:
        dataset: where batches come from.
        batch_size: B.
        mixture: proportion of each kind of supervision in a batch, such as ``{"full": 1, "partial": 1}``; see
            ``shares_of_batch`` for kinds that the data set lacks. Beside the kinds there are "positive", the
            entries with at least one tag 1, and "negative", those whose tags are all 0. None: entries are
            drawn regardless of kind.
        batches_per_epoch: length of an epoch; default once through as many entries as the data set has.
        augmentation: called with (batch, generator), returns the augmented batch.
        seed: of everything that is drawn here.

    Raises:
        InputError: if ``batch_size`` is below 1 or ``mixture`` names an unknown kind.
    """

    def __init__(
        self,
        dataset: DeviceCache,
        batch_size: int,
        mixture: Mapping[str, float] | None = None,
        batches_per_epoch: int | None = None,
        augmentation: Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]] | None = None,
        seed: int = 0,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"Expected batch_size >= 1, got {batch_size}.")
        known = [*(kind.value for kind in Supervision), POSITIVE, NEGATIVE]
        if unknown := sorted(set(mixture or ()) - set(known)):
            raise InputError(f"Expected a mixture of {known}, got {unknown}.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch or -(-len(dataset) // batch_size)
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 1
        if mixture is None:
            wanted, members = {"all": 1.0}, {"all": torch.arange(len(dataset))}
        else:
            wanted = {known[known.index(kind)]: weight for kind, weight in mixture.items()}
            members = members_of_kinds(dataset) | members_by_tags(dataset, wanted)
        present = {kind: len(entries) for kind, entries in members.items() if len(entries)}
        self.shares = shares_of_batch(batch_size, wanted, present)
        self._members = {kind: members[kind] for kind in self.shares}
        missing = sorted(set(wanted) - set(present))
        drawn = torch.cat([torch.arange(0), *self._members.values()])
        unused = sorted(kind for kind in present if not torch.isin(members[kind], drawn).any())
        if missing or unused:
            reasons = [f"the training list has no {missing}"] if missing else []
            reasons += [f"entries of kind {unused} are not drawn"] if unused else []
            logger.info(f"batches of {batch_size} hold {self.shares}: {', and '.join(reasons)}")

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self.batches_per_epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of the current ``epoch``; InputError if the data set is empty."""
        if not self.shares:
            raise InputError(
                "Expected at least one training item, got none; see the datalist's 'training' list."
            )
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch, rank)) % 2**63)
        streams = [(n, endless(self._members[kind], generator)) for kind, n in self.shares.items()]
        for _ in range(self.batches_per_epoch):
            entries = [next(stream) for n, stream in streams for _ in range(n)]
            batch = self.dataset.gather(entries, generator)
            yield batch if self.augmentation is None else self.augmentation(batch, generator)


def members_of_kinds(dataset: DeviceCache) -> dict[str, Tensor]:
    """Entries of each kind of supervision."""
    return {kind.value: (dataset.kind_codes == kind.code).nonzero().flatten() for kind in Supervision}


def members_by_tags(dataset: DeviceCache, wanted: Collection[str]) -> dict[str, Tensor]:
    """Of "positive" and "negative" those that are wanted, with their entries; {} if the set has no tags."""
    if dataset.tags is None:
        return {}
    members = {POSITIVE: (dataset.tags == 1).any(dim=1), NEGATIVE: (dataset.tags == 0).all(dim=1)}
    return {name: where.nonzero().flatten() for name, where in members.items() if name in wanted}


def endless(entries: Tensor, generator: torch.Generator) -> Iterator[int]:
    """Yield the entries in random order, again and again, each pass in a new order."""
    while True:
        yield from entries[torch.randperm(len(entries), generator=generator)].tolist()


def labels_with_supervision(
    batchdata: Mapping[str, Tensor],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """``prepare_batch`` of MONAI's trainer for losses that treat kinds of supervision differently.

    Args:
        batchdata: a batch of ``BatchLoader``.
        device: where the batch is wanted.
        non_blocking: as in ``Tensor.to``.
        kwargs: further arguments of ``Tensor.to``.

    Returns:
        The image and the target ``{"label": (B, 1, *S), "supervision": (B,)}``.
    """
    image = batchdata[IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
    target = {
        key: batchdata[key].to(device=device, non_blocking=non_blocking) for key in (LABEL, SUPERVISION)
    }
    return image, target


def image_and_tags(
    batchdata: Mapping[str, Tensor],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """``prepare_batch`` of MONAI's engines for learning from tags.

    Args:
        batchdata: a batch of ``BatchLoader``, or of volumes with ``tags`` (B, K - 1, D).
        device: where the batch is wanted.
        non_blocking: as in ``Tensor.to``.
        kwargs: further arguments of ``Tensor.to``.

    Returns:
        The image and the tags, (B, K - 1) in a batch of slices.
    """
    image = batchdata[IMAGE].to(device=device, non_blocking=non_blocking, **kwargs)
    return image, batchdata[TAGS].to(device=device, non_blocking=non_blocking)
