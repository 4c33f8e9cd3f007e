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
    except (OSError, RuntimeError) as error:  # the latter is what torch makes of a full disk
        reason = error.strerror if isinstance(error, OSError) else _free_space(path)
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise InputError(
            f"Expected room and permission to write {path.absolute()}, got: {reason}; "
            "what was there before is whole. Make room, or choose another --ckpt_dir."
        ) from error


def keep_aside(path: Path) -> Path:
    """Give a file a second name, with the present date and time, that no file has; return this.

    Raises:
        InputError: if it cannot be written; no half file is left.
    """
    now = f"{datetime.now():%Y-%m-%d_%H%M%S}"
    names = (f"{path.stem}_{now}{f'_{n}' * (n > 1)}{path.suffix}" for n in count(1))
    place = next(place for name in names if not (place := path.with_name(name)).exists())
    try:
        os.link(path, place)  # at once, and without room for a second copy
    except OSError:  # a file system without links
        unfinished = place.with_suffix(".unfinished")
        try:
            shutil.copy2(path, unfinished)
            os.replace(unfinished, place)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise InputError(
                f"Expected room and permission to keep {path.absolute()} as {place.name}, got: "
                f"{error.strerror}; nothing was replaced. Make room, or choose another --ckpt_dir."
            ) from error
    return place


def _free_space(path: Path) -> str:
    """What the disk of a file has left, in words."""
    return f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB of free space"


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
