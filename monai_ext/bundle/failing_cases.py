"""A case that fails while it is segmented costs one line, and the others are segmented all the same."""

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

from monai_ext.errors import InputError
from monai_ext.failures import message_of
from monai_ext.keys import CASE, FILE

logger = logging.getLogger(__name__)

PROBLEM = "problem"
"""Key of an item that could not be loaded: what was wrong."""
DISK_IS_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
"""What the system says when no other case could be written either."""


@contextmanager
def failing_cases(evaluator: Any, alone: bool = False) -> Iterator[list[str]]:
    """Pass over the cases that cannot be loaded, segmented or written, while the evaluator runs.

    Each has a line that names it and its file; handlers get an empty batch in its place. A full disk and
    faults of our own end the run, as they would without this.

    Args:
        evaluator: the engine; its ``Dataset`` yields items with ``case`` and ``file``.
        alone: whether there is one case only, whose failure ends the run.

    Yields:
        Names of the cases that failed, which grow as it runs.
    """
    loader, iterate = evaluator.data_loader, evaluator._process_function
    load, failed = loader.dataset.transform, list[str]()

    def step(engine: Any, batch: Any) -> Any:
        cases = list(batch[CASE])
        try:
            if PROBLEM in batch:
                raise InputError(batch[PROBLEM][0])
            return iterate(engine, batch)
        except Exception as error:
            said = _said(error)
            if alone or said is None or any(words in said for words in DISK_IS_FULL):
                raise
            with tqdm.external_write_mode():  # a line of its own, not behind the bar
                logger.error(f"case {', '.join(cases)} ({', '.join(batch[FILE])}): {said}")
        failed.extend(cases)
        engine.state.batch = []
        return []

    evaluator._process_function = step
    if loader.batch_size == 1 and not alone:  # what is not loaded cannot be collated with others
        loader.dataset.transform = _Loading(load)
    try:
        yield failed
    finally:
        evaluator._process_function, loader.dataset.transform = iterate, load


class _Loading:
    """Preprocessing that returns what was wrong instead of raising it, in a worker process too."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, item: Mapping[str, Any]) -> Any:
        try:
            return self.transform(item)
        except Exception as error:
            said = _said(error)
            if said is None:
                raise
            return {CASE: item[CASE], FILE: item[FILE], PROBLEM: said}


def _said(error: BaseException) -> str | None:
    """What the user can mend; None if it is our own fault."""
    if (said := message_of(error)) is not None:
        return said
    while error.__cause__ is not None:
        error = error.__cause__
    return f"Expected to read and write its files, got: {error}" if isinstance(error, OSError) else None
