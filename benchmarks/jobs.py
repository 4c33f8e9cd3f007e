"""Run the rows of a benchmark: every row and seed is a training and an evaluation, each with one thread.

A job that has its result file is skipped, so a benchmark that was interrupted goes on where it stopped.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from controls import CONTROLS
from labels import ranking_result, score_labels
from plan import REPOSITORY, Job, folder_of, folder_of_run
from rich.console import Console
from rich.progress import Progress
from runs import ONE_THREAD, commit, make_labels, train_and_evaluate


def run_jobs(jobs: list[Job], raw: Path, work: Path, at_once: int = 2) -> list[Job]:
    """Run the jobs that have no result yet and return those that failed.

    Args:
        jobs: what to run, in order, but those that need the networks of another row come last.
        raw: folder of the raw data.
        work: folder for prepared data and trained bundles; may be deleted afterwards.
        at_once: processes beside each other, each with one thread.
    """
    todo = [job for job in jobs if not job.result_file.is_file()]
    console = Console(stderr=True)
    console.print(
        f"{len(jobs) - len(todo)} of {len(jobs)} jobs have a result; running {len(todo)}, {at_once} at once"
    )
    for prepare in dict.fromkeys(job.prepare for job in todo):
        prepare_data(prepare, raw, work)
    failed = []
    needy = [job for job in todo if job.labels_of or job.weights_of]
    with Progress(console=console) as progress:
        task = progress.add_task("jobs", total=len(todo))
        for part in ([job for job in todo if job not in needy], needy):
            with ThreadPoolExecutor(at_once) as pool:
                for job, error in zip(part, pool.map(lambda job: run_job(job, raw, work), part), strict=True):
                    progress.advance(task)
                    if error:
                        failed.append(job)
                        console.print(f"{job.row}, seed {job.seed}: failed; see {error}")
    return failed


def prepare_data(prepare: tuple[str, ...], raw: Path, work: Path) -> None:
    """Prepare the data once for all rows that use them."""
    out = folder_of(prepare, work)
    if (out / "datalist.json").is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [word.format(raw=raw, out=out) for word in prepare]
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, env={**os.environ, **ONE_THREAD})


def run_job(job: Job, raw: Path, work: Path) -> Path | None:
    """Train, evaluate and write the result; return the log file if something failed."""
    root = folder_of_run(job.row, job, work)
    data, start = folder_of(job.prepare, work), time.monotonic()
    taught = data
    if job.labels_of:
        taught = root.with_name(f"{root.name}_labels")
        if log := make_labels(job, data, folder_of_run(job.labels_of, job, work), taught):
            return log
    if job.control:
        summary = CONTROLS[job.control](data)
    elif not job.trains:
        summary = score_labels(data)
    elif log := train_and_evaluate(job, taught, root):
        return log
    else:
        summary = read_summary(root / "eval")
    result = {
        "row": job.row,
        "seed": job.seed,
        "command": f"python benchmarks/accuracy.py {job.benchmark} --tier {job.tier}",
        "commit": commit(),
        "prepare": " ".join(job.prepare),
        "overrides": job.overrides,
        "patients": patients_of(data / "datalist.json"),
        "duration_s": round(time.monotonic() - start),
        "summary": summary,
        **training_of(job, work),
    }
    if (thresholds := root / "eval" / "thresholds.json").is_file():
        chosen = json.loads(thresholds.read_text(encoding="utf-8"))
        result["thresholds"] = {key: part["best"] for key, part in chosen.items() if "best" in part}
    ranking = root / "eval" / "label_review" / "ranking.csv"
    if ranking.is_file():
        result["ranking"] = ranking_result(ranking, taught)
    job.result_file.parent.mkdir(parents=True, exist_ok=True)
    job.result_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return None


def training_of(job: Job, work: Path) -> dict[str, Any]:
    """Which commit trained the networks that were scored and, if for this row, how long (None if unknown)."""
    file = folder_of_run(job.weights_of or job.row, job, work) / "trained.json"
    if not file.is_file():
        return {}
    record = json.loads(file.read_text(encoding="utf-8"))
    found = {"trained_by_commit": record["commit"]}
    return found if job.weights_of else {**found, "training_s": record.get("training_s")}


def read_summary(folder: Path) -> dict[str, Any]:
    """Scores of an evaluation; where a threshold was chosen, those of patients left out of the choice."""
    if not (file := folder / "thresholds.json").is_file():
        return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    content = json.loads(file.read_text(encoding="utf-8"))
    parts = {key: part["left_out"] for key, part in content.items() if isinstance(part, dict)}
    return {"unit": content["unit"], **parts.pop("pred"), **parts}


def patients_of(datalist: Path) -> dict[str, list[str]]:
    """Patients of every section and supervision kind."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for section in ("training", "validation", "test"):
        for item in content.get(section, []):
            found.setdefault(f"{section}, {item['supervision']}", set()).add(item["patient"])
    return {name: sorted(patients) for name, patients in found.items()}
