"""Accuracy on real data, row beside row: python benchmarks/accuracy.py lv --tier cpu."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from jobs import run_jobs
from overview import write_overview
from plan import read_jobs
from table import write_page


def main(
    benchmark: Annotated[str, typer.Argument(help="Name of a file in benchmarks/rows.")],
    tier: Annotated[
        str, typer.Option(help="cpu: small images and few steps; full: published sizes, for a GPU.")
    ] = "cpu",
    data: Annotated[
        Path | None, typer.Option(help="Folder with acdc/, lgg/, ...; default $SCARCE_DATA_ROOT.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for prepared data and trained bundles.")] = Path(
        "benchmark_work"
    ),
    rows: Annotated[str, typer.Option(help="Only these rows, separated by commas.")] = "",
    jobs: Annotated[int, typer.Option(help="Processes at once, each with one thread.")] = 2,
) -> None:
    """Run the rows that have no result yet, then write docs/results.md anew."""
    if not (place := data or os.environ.get("SCARCE_DATA_ROOT")):
        sys.exit("Expected the folder of the real data, got none; set SCARCE_DATA_ROOT or pass --data.")
    root = Path(place).resolve()
    if not root.is_dir():
        sys.exit(
            f"Expected the real data at {root}, found no such folder; set SCARCE_DATA_ROOT or pass --data."
        )
    try:
        plan = read_jobs(benchmark, tier)
    except ValueError as error:
        sys.exit(str(error))
    wanted = set(filter(None, rows.split(",")))
    if unknown := wanted - {job.row for job in plan}:
        sys.exit(f"Expected rows among {sorted({job.row for job in plan})}, got {sorted(unknown)}.")
    chosen = [job for job in plan if not wanted or job.row in wanted]
    failed = run_jobs(chosen, root, work.resolve(), jobs)
    write_page()
    write_overview()
    sys.exit(f"{len(failed)} jobs failed." if failed else 0)


if __name__ == "__main__":
    typer.run(main)
