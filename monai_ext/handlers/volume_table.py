"""The table of the volumes that an inference found, a row for each mask in its folder."""

import csv
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path

from monai_ext.errors import InputError

logger = logging.getLogger(__name__)

NAME = "volumes.csv"
CASE, IMAGE, MASK = "case", "image", "mask"
FIRST = [CASE, IMAGE, MASK]


class VolumeTable:
    """Rows of ``volumes.csv``, one for each mask; those of earlier inferences stay until it is replaced.

    The columns are ``case``, ``image`` (the file that was segmented), ``mask`` (its path from the folder of
    the table), and for each class ``NAME [mL]``, empty where the size of a voxel is unknown, and
    ``NAME [voxels]``.

    A file of this name that is no such table, or was damaged, is kept aside under a name with the date.

    Args:
        folder: of the masks.

    Raises:
        InputError: if such a file can be neither read nor renamed.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.columns = list(FIRST)
        self.rows: dict[str, dict[str, str]] = {}
        if self.path.is_file():
            self._read()

    def put(
        self, case: str, image: str, mask: str, voxels: Mapping[str, int], voxel_ml: float | None
    ) -> None:
        """Add or replace the row of a mask, and write the table, whole or not at all.

        Args:
            case: its name.
            image: path of the file that was segmented.
            mask: path of the mask from the folder of the table.
            voxels: number by name of the class.
            voxel_ml: volume of a voxel in milliliters, None if unknown.
        """
        row = {CASE: case, IMAGE: image, MASK: mask}
        for name, number in voxels.items():
            row[f"{name} [mL]"] = "" if voxel_ml is None else f"{number * voxel_ml:.3f}"
            row[f"{name} [voxels]"] = str(number)
        self.columns += [column for column in row if column not in self.columns]
        self.rows[mask] = row
        self._write()

    def _read(self) -> None:
        """Take the rows of an earlier inference over, or keep a file that cannot be continued aside."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or ())
                rows = list(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            return self._keep_aside(str(error))
        except OSError as error:
            raise self._cannot("read", error) from error
        if reason := _strange(columns, rows):
            return self._keep_aside(reason)
        self.columns = columns
        self.rows = {row[MASK]: row for row in rows}

    def _keep_aside(self, reason: str) -> None:
        stem = f"{self.path.stem}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
        names = (f"{stem}{f'_{number}' * (number > 1)}.csv" for number in count(1))
        aside = next(path for name in names if not (path := self.path.with_name(name)).exists())
        try:
            self.path.rename(aside)
        except OSError as error:
            raise self._cannot("rename", error) from error
        logger.warning(
            f"{self.path}: expected the table of an earlier inference, got {reason}; it is kept as "
            f"{aside.name}, and a new table begins"
        )

    def _cannot(self, what: str, error: OSError) -> InputError:
        return InputError(
            f"{self.path}: Expected to {what} the table of volumes, got {error.strerror or error}; free "
            "space there, change its permissions, or choose another --output_dir."
        )

    def _write(self) -> None:
        partial = self.path.with_name(f".{NAME}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, self.columns, restval="", extrasaction="ignore")
                writer.writeheader()
                writer.writerows(sorted(self.rows.values(), key=lambda row: (row[CASE], row[MASK])))
            partial.replace(self.path)
        except OSError as error:
            raise self._cannot("write", error) from error
        finally:
            partial.unlink(missing_ok=True)


def _strange(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str | None:
    """Why rows, as ``csv.DictReader`` returns them, cannot be continued without loss; None if they can."""
    if columns[: len(FIRST)] != FIRST:
        return f"the columns {', '.join(columns)}" if columns else "an empty file"
    if len(set(columns)) < len(columns):
        return "a column twice"
    for number, row in enumerate(rows, start=1):
        if set(row) != set(columns) or None in row.values():
            return f"another number of cells in row {number}"
    return "a mask twice" if len({row[MASK] for row in rows}) < len(rows) else None
