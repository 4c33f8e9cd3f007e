"""Failures on a command line: one line where the user can mend it, a traceback where it is our own fault."""

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType

from monai_ext.errors import InputError

QUOTED = re.compile(r"^monai_ext\.[\w.]+Error: (.+)$", re.MULTILINE)
"""Our message inside that of MONAI, which quotes tracebacks where it tries one reader after the other."""
OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OUT_OF_MEMORY = "OutOfMemoryError"
"""Name of torch's exception, which is not imported for it: that takes seconds."""
NO = ("false", "no", "off", "0")
INTERRUPTED = "Interrupted; files that were written before are whole."


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what the user can mend, or else the traceback, and end with the exit code that fits.

    Arguments as ``sys.excepthook`` gets them.
    """
    interrupted = issubclass(kind, KeyboardInterrupt)
    message = (str(error) or INTERRUPTED) if interrupted else message_of(error)
    if message is None or wants_traceback():
        traceback.print_exception(kind, error, trace)
    else:
        print(message, file=sys.stderr)
    raise SystemExit(130 if interrupted else 1)


def wants_traceback() -> bool:
    """Whether ``--debug`` is among the words of the command line, and not followed by a word for no."""
    for word, following in pairwise([*sys.argv, ""]):
        name, _, value = word.partition("=")
        if name == "--debug":
            return (value or following).lower() not in NO
    return False


def message_of(error: BaseException) -> str | None:
    """What the user can mend, from an exception or one that it came from; None if it is our own fault."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, InputError):
            return str(one)
        if quoted := QUOTED.search(str(one)):
            return quoted[1]
    for one in chain:
        if isinstance(one, OSError) and one.errno in OF_THE_SYSTEM:
            place = one.filename or "files"
            return f"Expected permission and room to write {place}, got: {one.strerror}."
        if type(one).__name__ == OUT_OF_MEMORY:
            return (
                "Expected enough memory on the GPU, got less; close other programs, or pass --device cpu or, "
                "in training, a smaller --train::dataloader::batch_size."
            )
        if isinstance(one, ValueError) and str(one).startswith("Expected ") and _is_ours(one):
            return str(one)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it came from, the latest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised it: its constructors refuse settings in the form that all messages have."""
    steps = list(traceback.walk_tb(error.__traceback__))
    return bool(steps) and str(steps[-1][0].f_globals.get("__name__", "")).startswith("monai_ext.")
