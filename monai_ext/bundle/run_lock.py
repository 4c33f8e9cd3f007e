"""One training at a time in a folder."""

import os
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from monai_ext.errors import InputError

LOCK, OWNER = "run.lock", "run.txt"
"""Names of files beside the checkpoint. The system frees the lock when its process ends, however it ends."""
PATIENCE = 1.0
"""Seconds after which who has a lock is a training: others take it for an instant, to look."""


class RunLock:
    """Keep other trainings out of a folder until ``release``, or until this process ends.

    Args:
        folder: of the weights and checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "training"
        self.lock = FileLock(self.folder / LOCK)

    def acquire(self) -> None:
        """Take the folder; nothing happens if this object has it.

        Raises:
            InputError: naming the process that has it and since when.
        """
        if self.lock.is_locked or not self._lock():
            return
        owner = f"process {os.getpid()}, started {datetime.now():%Y-%m-%d %H:%M:%S}"
        (self.folder / OWNER).write_text(owner, encoding="utf-8")

    def look(self) -> None:
        """See that no other training has the folder, without taking it from others who look.

        Raises:
            InputError: as ``acquire``.
        """
        if not self.lock.is_locked and self._lock():
            self.lock.release()

    def release(self) -> None:
        """Let others in."""
        if self.lock.is_locked:
            (self.folder / OWNER).unlink(missing_ok=True)
            self.lock.release()

    def _lock(self) -> bool:
        """Lock, waiting for those who look; False on a file system without locks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise InputError(
                f"Expected {self.folder.parent} for this training alone, got {self._owner()} in it; "
                "wait for it, stop it, or choose another --ckpt_dir."
            ) from None
        except NotImplementedError:  # a file system without locks
            return False
        return True

    def _owner(self) -> str:
        try:
            return (self.folder / OWNER).read_text(encoding="utf-8")
        except OSError:
            return "another training"


def stop_if_taken(folder: Path) -> None:
    """Say early that another training has a folder; nothing is written where there was none.

    Raises:
        InputError: as ``RunLock.acquire``.
    """
    if (folder / "training" / LOCK).exists():
        RunLock(folder).look()
