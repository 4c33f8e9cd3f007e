"""Failures on MONAI's command line, told in the same form as on ours.

``python -m monai.bundle`` is MONAI's own program, so what it does with an exception can only be changed by
Python's hook. It is set when a config imports ``monai_ext.bundle`` in that program, and nowhere else.
"""

import sys

from monai_ext.failures import tell

PROGRAM = "monai.bundle"


def install() -> None:
    """Set the hook if the running program is ``python -m monai.bundle``."""
    if is_program():
        sys.excepthook = tell


def is_program() -> bool:
    """Whether the running program is ``python -m monai.bundle``, so that ``sys.argv`` are its words."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.removesuffix(".__main__") == PROGRAM
