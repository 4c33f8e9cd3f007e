"""Settings that name files and folders."""

import sys
from itertools import pairwise
from os import PathLike
from typing import Any

from monai.bundle import ReferenceResolver

from monai_ext.bundle import hook
from monai_ext.bundle.values import is_config_syntax
from monai_ext.bundle.workflow import Run
from monai_ext.errors import InputError

NAMES = ("bundle_root", "input", "weights", "datalist", "load_path")
"""Last parts of the ids of paths, beside those that end in ``_dir``."""


def is_path(id: str) -> bool:
    """Whether an id names a file or folder."""
    last = ReferenceResolver.split_id(id)[-1]
    return last in NAMES or last.endswith("_dir")


def as_path(id: str, value: Any, run: Run) -> str:
    """The path as it was typed, in a form that MONAI leaves alone.

    An expression or reference that gives a path stays.

    Raises:
        InputError: if the command line or MONAI takes the name for something else.
    """
    typed = as_typed(id)
    if is_config_syntax(value):
        if _gives_path(id, value, run):
            return str(value)
        raise _not_a_path(id, value, "an expression" if value[0] == "$" else "a reference")
    if isinstance(value, PathLike):
        value = str(value)
    if isinstance(value, bool) and typed is not None and (not typed or typed.startswith("--")):
        raise InputError(f"Expected a path behind --{id}, got none; write --{id} PATH.")
    if not isinstance(value, str):
        kinds = {bool: "yes or no", int: "a number", float: "a number", list: "a list", tuple: "a list"}
        raise _not_a_path(id, value if typed is None else typed, kinds.get(type(value), "a dictionary"))
    if not value:
        raise InputError(f"Expected --{id} to be a path, got an empty word; write . for this folder.")
    if typed is not None and typed.partition("#")[0].rstrip() == value:
        value = typed  # the command line takes what stands behind # for a comment
    return literal(value)


def literal(path: str) -> str:
    """A path in a form that MONAI leaves alone, which reads ``#`` in a plain value as ``::``."""
    if "#" not in path:
        return path
    return "$" + repr(path).replace("#", r"\x23").replace("@", r"\x40")


def as_typed(id: str) -> str | None:
    """The last value of an option among the words of MONAI's command line; None if it is not there.

    The words of any other program, such as one that makes workflows itself, say nothing about a config.
    """
    found = None
    if not hook.is_program():
        return None
    for word, following in pairwise([*sys.argv, ""]):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:].replace("-", "_") == id.replace("-", "_"):
            found = value if equals else following
    return found


def _gives_path(id: str, value: str, run: Run) -> bool:
    references = ReferenceResolver.match_refs_pattern(value)
    if references and all(reference in run.parser for reference in references):
        return True  # such as of the rank, which a process does not know yet
    try:
        return isinstance(run.parser.get_parsed_content(id), str | PathLike)
    except Exception:  # whatever somebody's expression raises
        return False


def _not_a_path(id: str, value: Any, taken_for: str) -> InputError:
    return InputError(
        f"Expected --{id} to be a path, got {value}, which is taken for {taken_for}; "
        f"write ./{value} or the absolute path."
    )
