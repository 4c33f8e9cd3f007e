"""Randomness that depends on the epoch only."""

from typing import Any

from ignite.engine import Engine, Events
from ignite.utils import manual_seed


class EpochSeed:
    """Seed torch, NumPy and Python at the start of every epoch, and tell the batch loader which epoch it is.

    A training that is resumed after epoch e then draws what the uninterrupted one drew from epoch e + 1 on.

    Event: EPOCH_STARTED. Reads: ``engine.state.epoch``. Writes: ``loader.epoch``. State: none.

    Args:
        seed: seed of the whole run.
        loader: has an attribute ``epoch``, as ``BatchLoader``; None if there is none to tell.
    """

    def __init__(self, seed: int, loader: Any = None) -> None:
        self.seed = seed
        self.loader = loader

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed for the epoch that starts."""
        manual_seed((self.seed * 100_003 + engine.state.epoch) % 2**32)
        if self.loader is not None:
            self.loader.epoch = engine.state.epoch
