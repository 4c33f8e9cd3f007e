"""Progress bars."""

from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar


class BarFromZero(ProgressBar):
    """Ignite's progress bar, shown from the start of a run and not from the end of its first step.

    Event: STARTED, and those that ``attach`` is given. Reads: the engine's output, as ``attach`` is told.
    Writes: nothing. State: none.
    """

    def attach(self, engine: Engine, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Register with the engine; arguments as in Ignite."""
        self.done = 0
        self.counts_epochs = kwargs.get("event_name") == Events.EPOCH_COMPLETED
        engine.add_event_handler(Events.STARTED, self.show)
        super().attach(engine, *args, **kwargs)

    def show(self, engine: Engine) -> None:
        """Draw the bar at what is done, 0 unless a training goes on."""
        state = engine.state
        self.done = state.epoch if self.counts_epochs else 0
        if self.done < (state.max_epochs or 0):
            self._reset(state.max_epochs if self.counts_epochs else state.epoch_length)

    def _reset(self, pbar_total: int | None) -> None:  # Ignite's begins at 1
        form = {"leave": self.persist, "bar_format": self.bar_format, **self.tqdm_kwargs}
        self.pbar = self.pbar_cls(total=pbar_total, initial=self.done, **form)
