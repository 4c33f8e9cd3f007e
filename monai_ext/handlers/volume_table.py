"""The table of the volumes that an inference found, a row for each mask in its folder."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from monai_ext.errors import InputError

NAME = "volumes.csv"
CASE, IMAGE, MASK = "case", "image", "mask"
FIRST = [CASE, IMAGE, MASK]


class VolumeTable:
    """Rows of ``volumes.csv``, one for each mask; those of earlier inferences stay until it is replaced.

    The columns are ``case``, ``image`` (the file that was segmented), ``mask`` (its path from the folder of
    the table), and for each class ``NAME [mL]``, empty where the size of a voxel is unknown, and
    ``NAME [voxels]``.

    Args:
        folder: of the masks.

    Raises:
        InputError: if there is a file of this name that is no such table.
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
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                columns = list(reader.fieldnames or ())
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise self._no_table() from error
        if columns[: len(FIRST)] != FIRST:
            raise self._no_table()
        self.columns = columns
        self.rows = {row[MASK]: row for row in rows}

    def _no_table(self) -> InputError:
        return InputError(
            f"{self.path}: Expected the table of an earlier inference, got another file; move it away or "
            "choose another --output_dir."
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
            raise InputError(
                f"{self.path}: Expected to write the table of volumes, got {error.strerror or error}; free "
                "space there, or choose another --output_dir."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
