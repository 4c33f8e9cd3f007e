"""Folders of a run: that the bundle is there, and that results can be written, before any time is spent."""

import os
import tempfile
from pathlib import Path

import ignite.distributed as idist

from monai_ext.bundle.run_lock import stop_if_taken
from monai_ext.errors import InputError

PROBE = b"\0" * 4096
"""What is written for a moment to see whether a disk takes anything."""


def require_folders(
    bundle_root: str | Path, *outputs: str | Path, ckpt_dir: str | Path | None = None
) -> None:
    """See that ``bundle_root`` is a bundle and that files can be written where results are to go.

    Args:
        bundle_root: folder of the bundle.
        outputs: folders for results, which need not exist.
        ckpt_dir: folder for weights and checkpoints, in which no other training may run; None if nothing is
            trained.

    Raises:
        InputError: naming the folder.
    """
    if not (Path(bundle_root) / "configs").is_dir():
        raise InputError(
            f"Expected a bundle at {Path(bundle_root).absolute()}, got a folder without configs; "
            "change into the bundle's folder, or pass --bundle_root."
        )
    for folder in (*outputs, *([] if ckpt_dir is None else [ckpt_dir])):
        require_writable(folder)
    if ckpt_dir is not None and idist.get_rank() == 0:
        stop_if_taken(Path(ckpt_dir))


def require_writable(folder: str | Path) -> None:
    """See that files can be written into a folder or, if there is none, that it can be made.

    Raises:
        InputError: if they cannot, with what the system says.
    """
    folder = Path(folder).absolute()
    try:
        existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not existing.is_dir():
            raise NotADirectoryError(f"{existing} is a file")
        with tempfile.TemporaryFile(dir=existing, prefix=".writable") as file:
            file.write(PROBE)
            file.flush()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"Expected a folder that can be written at {folder}, got: {reason}; "
            "choose another, such as by --output_dir or --ckpt_dir, or make room."
        ) from error
