"""A bar that shows how far a run is, from zero on."""

from typing import Any

import torch
from ignite.engine import Engine, Events
from tqdm.auto import tqdm


class BarFromZero:
    """Show how many iterations or epochs are done. Ignite's ``ProgressBar`` begins after the first one.

    Event: STARTED, ITERATION_COMPLETED or EPOCH_COMPLETED, COMPLETED, EXCEPTION_RAISED. Reads: ``epoch``,
    ``epoch_length`` and ``max_epochs`` of ``engine.state`` and, of epochs, ``engine.state.output["loss"]``.
    Writes: nothing. State: none.

    Args:
        title: what stands before the bar.
        epochs: whether epochs are counted, from the one after which a training goes on, and not the
            iterations of one epoch.
    """

    def __init__(self, title: str, epochs: bool = False) -> None:
        self.title = title
        self.epochs = epochs
        self.bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Register with the engine, after what sets the epoch on a resume."""
        step = Events.EPOCH_COMPLETED if self.epochs else Events.ITERATION_COMPLETED
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(step, self)
        engine.add_event_handler(Events.COMPLETED, self.close)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.close_and_pass_on)

    def start(self, engine: Engine) -> None:
        """Show it at what is done."""
        state = engine.state
        total, done = (state.max_epochs, state.epoch) if self.epochs else (state.epoch_length, 0)
        self.bar = tqdm(total=total, initial=done, desc=self.title)

    def __call__(self, engine: Engine) -> None:
        """One more."""
        self.bar.update()
        if self.epochs:
            output: Any = engine.state.output
            self.bar.set_postfix(loss=f"{float(torch.as_tensor(output['loss']).detach()):.3g}")

    def close(self, engine: Engine, error: BaseException | None = None) -> None:
        """Leave it as it is."""
        if self.bar is not None:
            self.bar.close()

    def close_and_pass_on(self, engine: Engine, error: BaseException) -> None:
        """Leave it as it is, so that what follows begins on a line of its own."""
        self.close(engine)
        raise error
