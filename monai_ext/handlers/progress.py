"""How far an inference is, and where its results are."""

import logging
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar

logger = logging.getLogger(__name__)


class InferenceProgress:
    """Show a progress bar and, at the end, log how many segmentations were written where.

    Event: STARTED, ITERATION_COMPLETED, COMPLETED. Reads: ``engine.state.output``, decollated. Writes:
    nothing. State: none.

    Args:
        output_dir: folder of the segmentations, as the config gives it to ``SaveImaged``.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)
        self.count = 0

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.tell)
        ProgressBar(persist=True, desc="segmenting").attach(engine)

    def start(self, engine: Engine) -> None:
        """Count from 0."""
        self.count = 0

    def __call__(self, engine: Engine) -> None:
        """Count the segmentations of this iteration."""
        output: Any = engine.state.output
        self.count += len(output)

    def tell(self, engine: Engine) -> None:
        """Log the number and the folder."""
        logger.info(f"wrote {self.count} segmentation{'s' * (self.count != 1)} to {self.output_dir}")
