"""Failures on MONAI's command line: one line where the user can mend it, a traceback where it is our fault.

``python -m monai.bundle`` is MONAI's own program, so what it does with an exception can only be changed by
Python's hook. It is set when a config imports ``monai_ext.bundle`` in that program, never elsewhere.
"""

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from itertools import pairwise
from types import TracebackType

import torch

from monai_ext.bundle.values import FALSE
from monai_ext.errors import InputError

PROGRAM = "monai.bundle"
QUOTED = re.compile(r"^monai_ext\.[\w.]+Error: (.+)$", re.MULTILINE)
"""Our message inside that of MONAI, which quotes tracebacks where it tries one reader after the other."""
OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INTERRUPTED = "Interrupted; files that were written before are whole."


def install() -> None:
    """Set the hook if the running program is ``python -m monai.bundle``."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.name.removesuffix(".__main__") == PROGRAM:
        sys.excepthook = tell


def tell(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:  # the signature of ``sys.excepthook``
    """Print what the user can mend, or the whole traceback, and end with the exit code that fits."""
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
            return (value or following).lower() not in FALSE
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
        if isinstance(one, torch.OutOfMemoryError):
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
