"""Read what ``torch.save`` wrote: checkpoints and weights."""

import sys
import textwrap
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch


def read_saved(path: Path, expected: str, remedy: str) -> dict[str, Any]:
    """The dictionary of a file, its tensors on the CPU.

    Args:
        path: an existing file.
        expected: what it should be, such as "a whole checkpoint".
        remedy: what to do if it is not.

    Raises:
        SystemExit: with one line, if the file is damaged.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (EOFError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        sys.exit(f"Expected {path} to be {expected}, got: {first_sentence(error)}; {remedy}.")


def first_sentence(error: BaseException) -> str:
    """Of its message, which in torch goes on for lines; the type of an error that says nothing."""
    text = textwrap.shorten(str(error), width=200, placeholder=" ...")
    return text.split(". ")[0].rstrip(".") or type(error).__name__
