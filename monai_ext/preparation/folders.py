"""Folders of the prepare scripts: what lies in a raw one, and an output written whole."""

import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from filecmp import cmp
from itertools import combinations
from pathlib import Path

from monai_ext.datalist.names import distinct_names
from monai_ext.errors import InputError
from monai_ext.images.search import SUFFIXES, entries, folders_at, images_in, listed
from monai_ext.keys import DATALIST

logger = logging.getLogger(__name__)


@contextmanager
def staged_folder(out: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when the block ends, or vanishes if the block fails.

    Args:
        out: where the content shall lie in the end; its parents are made.
        overwrite: whether a folder that was prepared before may be replaced.

    Raises:
        InputError: ``out`` is not empty and ``overwrite`` is off, or it holds no datalist, so that it
            might be anything.
    """
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise InputError(f"Expected {out} to be a folder, got a file; choose another folder.")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise InputError(
                f"Expected {out} to be empty, got files; choose another folder or pass --overwrite."
            )
        if not (out / DATALIST).is_file():
            raise InputError(
                f"Expected {DATALIST} in a folder to overwrite, got none in {out}; empty it yourself."
            )
    out.parent.mkdir(parents=True, exist_ok=True)
    staged, old = (out.with_name(f".{out.name}.{kind}-{os.getpid()}") for kind in ("partial", "old"))
    staged.mkdir()
    try:
        yield staged
        if out.exists():
            out.rename(old)
        staged.rename(out)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def images_below(raw: Path) -> Iterator[Path]:
    """All image files at any depth; links are followed, hidden files and those of macOS left out."""
    for folder in folders_at(raw, math.inf):
        yield from (path for path in images_in(folder) if path != folder)


def patient_folders(raw: Path, prefix: str, tree: str) -> dict[str, Path]:
    """Folders named ``prefix`` and a number at any depth, by name of the patient.

    That is the name of the folder. Folders of one name are different patients, whose names also have the
    folders above; a log line says so.

    Args:
        raw: the folder of the data set.
        prefix: for example ``"patient"``.
        tree: what such a folder looks like, for the message.

    Raises:
        InputError: there is none, or two hold the same images.
    """
    below = folders_at(raw, math.inf) if raw.is_dir() else ()
    folders = [f for f in below if f != raw and re.fullmatch(rf"{prefix}\d+", f.name)]
    if not folders:
        raise nothing_below(raw, f"folders {tree}")
    found = dict(sorted(zip(distinct_names([str(f) for f in folders]), folders, strict=True)))
    refuse_copies([{path.name: path for path in images_in(f)} for n, f in found.items() if n != f.name])
    if apart := [Path(name) for name, folder in found.items() if name != folder.name]:
        logger.warning(
            "folders of one name are different patients, called by the folders above too: "
            f"{listed(apart, Path())}"
        )
    return found


def refuse_copies(cases: Sequence[Mapping[str, Path]]) -> None:
    """Stop where two cases are one, so that none is both for training and for the test.

    Args:
        cases: the files of each, by what they hold.

    Raises:
        InputError: what two cases have in common is equal, byte by byte.
    """
    for first, second in combinations(cases, 2):
        shared = sorted(first.keys() & second.keys())
        if shared and all(cmp(first[what], second[what], shallow=False) for what in shared):
            raise InputError(
                f"{second[shared[0]]}: Expected each case once, got a copy of {first[shared[0]]}; "
                "leave one of the two out."
            )


def nothing_below(raw: Path, wanted: str) -> InputError:
    """The error that says what was looked for in a raw folder, and what is there instead."""
    if not raw.is_dir():
        return InputError(f"Expected {wanted} under {raw}, got no such folder; check --raw.")
    images = list(images_below(raw))
    found = f" but other images ({len(images)}), such as {images[0].relative_to(raw)}" if images else ""
    advice = "check --raw, or rename the files" if images else "check --raw"
    return InputError(f"Expected {wanted} under {raw}, found none{found}; {advice}.")


def image_file(stem: Path) -> Path:
    """The image of this name in any format that is taken, NIfTI before all others.

    Raises:
        InputError: there is none.
    """
    start, there = stem.name, entries(stem.parent) if stem.parent.is_dir() else []
    for suffix in SUFFIXES:
        for path in there:
            if path.name.startswith(start) and path.name[len(start) :].lower() == suffix and path.is_file():
                return path
    raise InputError(f"{stem}.nii.gz: Expected this file, found none; restore it or take out the patient.")
