"""Checkpoints and weights on disk: read what ``torch.save`` wrote, and write it whole or not at all."""

import contextlib
import hashlib
import os
import shutil
import textwrap
from datetime import datetime
from itertools import count
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from monai_ext.errors import InputError


def read_saved(path: Path, expected: str, remedy: str) -> dict[str, Any]:
    """The dictionary of a file, its tensors on the CPU.

    Args:
        path: an existing file.
        expected: what it should be, such as "a whole checkpoint".
        remedy: what to do if it is not.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (EOFError, RuntimeError, TypeError, ValueError, UnpicklingError) as error:
        raise InputError(
            f"Expected {path} to be {expected}, got: {first_sentence(error)}; {remedy}."
        ) from error


def first_sentence(error: BaseException) -> str:
    """Of its message, which in torch goes on for lines; the type of an error that says nothing."""
    text = textwrap.shorten(str(error), width=200, placeholder=" ...")
    return text.split(". ")[0].rstrip(".") or type(error).__name__


def save_atomically(content: Any, path: Path) -> None:
    """Write ``content`` to ``path``; the old file stays until the new is whole.

    Raises:
        InputError: if it cannot be written; nothing but the old file is left.
    """
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, unfinished)
        os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by the latter
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(
            f"Expected room and permission to write {path.absolute()}, got: {first_sentence(error)}; "
            "what was there before is whole. Make room, or choose another --ckpt_dir."
        ) from error


def keep_aside(path: Path) -> Path:
    """Copy a file to a name with the present date and time, which no file has, and return the copy."""
    now = datetime.now()
    for number in count(1):
        more = f"_{number}" * (number > 1)
        place = path.with_name(f"{path.stem}_{now:%Y-%m-%d_%H%M%S}{more}{path.suffix}")
        if not place.exists():
            break
    shutil.copy2(path, place)
    return place


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
