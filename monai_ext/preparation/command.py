"""The course of a prepare command: cases written one by one, what is said of them, errors in one line."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from monai_ext.datalist.format import SECTIONS
from monai_ext.errors import InputError
from monai_ext.failures import tell
from monai_ext.keys import DATALIST, Supervision
from monai_ext.logs import start_logging
from monai_ext.preparation.cases import Patient, Prepared
from monai_ext.preparation.folders import staged_folder
from monai_ext.preparation.noise_options import NoiseOptions

logger = logging.getLogger(__name__)

Case = TypeVar("Case")
Items = dict[str, list[dict[str, Any]]]
"""Items of a datalist by section."""


def run(main: Callable[..., None]) -> None:
    """Run a script's function on the words of the command line.

    What the user can mend is one line on the standard error and exit code 1; wrong usage has exit code 2.
    """
    start_logging()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is unfinished is taken away
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except Exception as error:  # before Typer's own hook draws it
        tell(type(error), error, error.__traceback__)


@contextmanager
def command_output(raw: Path, out: Path, overwrite: bool) -> Iterator[Path]:
    """The folder in which a command works, and one kind of error where the block fails.

    Args:
        raw: the folder of the data set; neither it nor ``out`` may lie in the other.
        out: where the content shall lie in the end, as for
            :func:`monai_ext.preparation.folders.staged_folder`.
        overwrite: whether a folder that was prepared before may be replaced.

    Raises:
        InputError: the data or the options cannot be used, or ``out`` cannot be written.
    """
    if _nested(raw, out) or _nested(out, raw):
        raise InputError(f"Expected --out apart from --raw, got {out} and {raw}; choose another.")
    try:
        with staged_folder(out, overwrite) as staged:
            yield staged
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        file = f" for {error.filename}" if error.filename else ""
        raise InputError(
            f"Expected to write {out}, got: {error.strerror or error}{file}; "
            "free some space, or choose another --out. Nothing was kept."
        ) from error


def _nested(inner: Path, outer: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def write_cases(
    cases: Sequence[Case], write: Callable[[Case], tuple[dict[str, Any], Prepared]], title: str
) -> tuple[Items, list[Prepared]]:
    """Write all cases while a progress bar shows.

    Args:
        cases: in the order of the datalist.
        write: writes the files of a case, as :func:`monai_ext.preparation.cases.write_case` does.
        title: of the bar.

    Returns:
        The items by section, and what the summary counts.
    """
    items: Items = {section: [] for section in SECTIONS}
    prepared = []
    for case in track(cases, title, console=Console(stderr=True), transient=True):
        item, counts = write(case)
        items[counts.section].append(item)
        prepared.append(counts)
    return items, prepared


def measured_unit(prepared: Sequence[Prepared], spacing_unknown: bool, no_1_mm: str) -> str:
    """Unit of the datalist: ``"voxel"`` if the spacing is unknown, else ``"mm"``.

    Args:
        prepared: all cases.
        spacing_unknown: whether the user says so.
        no_1_mm: name of a data set none of whose scans has voxels of 1 x 1 x 1 mm: if every header says so,
            the spacing was lost, which is logged. Empty if such voxels are possible.
    """
    if spacing_unknown:
        return "voxel"
    if not no_1_mm or not all(np.allclose(case.spacing, 1) for case in prepared):
        return "mm"
    logger.warning(
        "Every header says 1 x 1 x 1 mm, as no %s scan is: the spacing was lost; unit: voxel", no_1_mm
    )
    return "voxel"


def describe(
    title: str,
    seed: int,
    patients: Sequence[Patient],
    others: str = "",
    noise: NoiseOptions | None = None,
    report: str = "",
) -> str:
    """Description of the datalist, from which the preparation can be repeated.

    Args:
        title: of the data set, and what was made of it.
        seed: of the command.
        patients: all of them.
        others: how the training patients without full masks are annotated, if not with noise.
        noise: what the labels got.
        report: how far they are from the clean ones, line by line.
    """
    training = [patient for patient in patients if patient.section == "training"]
    full = [patient.name for patient in training if patient.kind is Supervision.FULL]
    made = [f"{title}, seed {seed}; full masks in training: {', '.join(full) or 'none'}"]
    if noise is not None and noise.noises:
        corrupted = [patient.name for patient in training if patient.corrupted]
        made += [noise.describe(corrupted), *report.splitlines()]
    elif others:
        made.append(others)
    return "; ".join(made)


def show_summary(prepared: Sequence[Prepared], title: str, report: str, out: Path) -> None:
    """Show the table of :func:`summary_table` and where the datalist lies."""
    console = Console()
    console.print(summary_table(prepared, title, report))
    console.out(f"wrote {out / DATALIST}", highlight=False)


def summary_table(cases: Sequence[Prepared], title: str, caption: str = "") -> Table:
    """Table of patients, cases, slices and the mean labeled share, by section and kind of supervision."""
    table = Table(title=title, caption=caption or None)
    for heading in ("section", "supervision", "patients", "cases", "slices", "labeled voxels"):
        table.add_column(heading, justify="left" if heading in ("section", "supervision") else "right")
    groups = dict.fromkeys((case.section, case.supervision) for case in cases)
    for section, kind in sorted(groups, key=lambda group: (SECTIONS.index(group[0]), group[1])):
        group = [case for case in cases if (case.section, case.supervision) == (section, kind)]
        share = sum(case.labeled_share for case in group) / len(group)
        counts = len({case.patient for case in group}), len(group), sum(case.slices for case in group)
        table.add_row(section, kind, *map(str, counts), f"{share:.3%}")
    return table
