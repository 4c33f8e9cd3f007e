"""Run the rows of a benchmark: every row and seed is a training and an evaluation, each with one thread.

A job that has its result file is skipped, so a benchmark that was interrupted goes on where it stopped.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from controls import CONTROLS
from labels import ranking_result, score_labels
from rich.console import Console
from rich.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[1]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


@dataclass(frozen=True)
class Job:
    """One row of a benchmark with one seed.

    Attributes:
        benchmark: name of the benchmark, as in ``benchmarks/rows/NAME.yaml``.
        tier: name of the tier, such as ``cpu``.
        row: name of the row.
        seed: of weights, batches and augmentation.
        bundle: name of the bundle's folder.
        prepare: words of the command that prepares the data, with ``{raw}`` and ``{out}`` to be filled in.
        overrides: configuration that differs from the bundle's, by id.
        mix_ins: names of the bundle's configurations that come after ``train.yaml``.
        trains: whether a network is trained; else the labels of the training set are scored themselves.
        control: name of a method without training in ``controls.py`` that is scored instead, or "".
        labels_of: name of the row whose networks made the labels that this one learns, or "".
        weights_of: name of the row whose networks this one evaluates in another way, or "".
    """

    benchmark: str
    tier: str
    row: str
    seed: int
    bundle: str
    prepare: tuple[str, ...]
    overrides: dict[str, Any] = field(hash=False)
    mix_ins: tuple[str, ...] = ()
    trains: bool = True
    control: str = ""
    labels_of: str = ""
    weights_of: str = ""

    @property
    def result_file(self) -> Path:
        """Where the result goes, in the repository."""
        folder = REPOSITORY / "benchmarks" / "results" / f"{self.benchmark}_{self.tier}"
        return folder / f"{self.row}_seed{self.seed}.json"


def read_jobs(benchmark: str, tier: str) -> list[Job]:
    """The jobs of a benchmark's YAML file for one tier, those that carry the claim first.

    Raises:
        ValueError: if there is no such benchmark or tier.
    """
    file = REPOSITORY / "benchmarks" / "rows" / f"{benchmark}.yaml"
    if not file.is_file():
        names = sorted(f.stem for f in file.parent.glob("*.yaml"))
        raise ValueError(f"Expected a benchmark among {names}, got {benchmark!r}.")
    plan = yaml.safe_load(file.read_text(encoding="utf-8"))
    if tier not in plan["tiers"]:
        raise ValueError(f"Expected a tier among {sorted(plan['tiers'])}, got {tier!r}.")
    jobs = []
    for name, row in plan["rows"].items():
        overrides: dict[str, Any] = {}
        for part in [
            plan["tiers"][tier],
            *(plan["parts"][p] for p in row.get("parts", [])),
            row.get("config", {}),
        ]:
            overrides |= part
        prepare = (*plan["prepare"], *(str(word) for word in row["prepare"]))
        for seed in range(row.get("seeds", 1)):
            config = {**overrides, "seed": seed}
            names = ("trains", "control", "labels_of", "weights_of")
            special = {key: row[key] for key in names if key in row}
            mix_ins = tuple(row.get("mix_ins", plan.get("mix_ins", [])))
            jobs.append(Job(benchmark, tier, name, seed, plan["bundle"], prepare, config, mix_ins, **special))
    return sorted(jobs, key=lambda job: job.seed)


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


def folder_of(prepare: tuple[str, ...], work: Path) -> Path:
    """Folder of the data that the command prepares, named after its options."""
    script, *options = [word for word in prepare if not word.startswith("{")]
    return work / "data" / "_".join([Path(script).parent.name, *(word.strip("-") for word in options)])


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
        result["ranking"] = ranking_result(ranking, data)
    job.result_file.parent.mkdir(parents=True, exist_ok=True)
    job.result_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return None


def folder_of_run(row: str, job: Job, work: Path) -> Path:
    """Where the bundle of a row is trained, with the seed of the job."""
    return work / job.benchmark / job.tier / f"{row}_seed{job.seed}"


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


def make_labels(job: Job, data: Path, teacher: Path, out: Path) -> Path | None:
    """Let the networks of another row make the labels of the training set; return the log if it failed.

    Its maps are cut around the threshold that is best for the validation patients.
    """
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_name(f"{out.name}.txt")
    configs = REPOSITORY / "bundles" / job.bundle / "configs"
    places = [configs / "train.yaml", teacher / "configs" / "row.yaml", configs / "pseudo_labels.yaml"]
    files = str([str(place) for place in places])
    bundle = ["monai.bundle", "run", "--config_file", files, "--dataset_dir", str(data)]
    if (found := teacher / "eval" / "thresholds.json").is_file():
        best = json.loads(found.read_text(encoding="utf-8"))["pred"]["best"]
        bundle += ["--threshold", str(best)]
    made = ["--predictions", str(teacher / "eval" / "pseudo_labels"), "--out", str(out)]
    return run_commands([bundle, ["monai_ext", "pseudo-labels", str(data), *made]], teacher, log)


def run_commands(commands: list[list[str]], folder: Path, log: Path) -> Path | None:
    """Run modules of Python, each with one thread, in a folder; return the log if one failed."""
    if not folder.is_dir():
        log.write_text(f"Expected {folder} of an earlier row, found none; run that row first.\n", "utf-8")
        return log
    with log.open("w") as file:
        for words in commands:
            done = subprocess.run(
                [sys.executable, "-m", *words],
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ONE_THREAD},
            )
            if done.returncode:
                return log
    return None


def train_and_evaluate(job: Job, data: Path, root: Path) -> Path | None:
    """Run the bundle's own commands in a copy of it; return the log file if one of them failed.

    A training that was finished before is not repeated, if it would learn the same; its evaluation is.
    """
    done = root / "trained.json"
    record = {"options": [list(job.mix_ins), job.overrides], "digest": digest_of_training(job, data)}
    if not is_finished(done, record):
        shutil.rmtree(root, ignore_errors=True)
    without = shutil.ignore_patterns("*.pt", "*.ts", "eval")
    shutil.copytree(REPOSITORY / "bundles" / job.bundle, root, ignore=without, dirs_exist_ok=True)
    (root / "configs" / "row.yaml").write_text(yaml.safe_dump(job.overrides), encoding="utf-8")

    def bundle(*last: str) -> list[str]:
        files = str([f"configs/{name}.yaml" for name in ("train", *job.mix_ins, *last)])
        return ["monai.bundle", "run", "--config_file", files, "--dataset_dir", str(data)]

    weights = []
    if job.weights_of:
        teacher = root.with_name(f"{job.weights_of}_seed{job.seed}")
        weights = ["--weights", str(teacher / "models" / "model.pt")]
    elif not done.is_file():
        start = time.monotonic()
        if log := run_commands([bundle("row")], root, root / "train_log.txt"):
            return log
        record |= {"commit": commit(), "training_s": round(time.monotonic() - start)}
        done.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return run_commands([bundle("evaluate", "row") + weights], root, root / "evaluate_log.txt")


def digest_of_training(job: Job, data: Path) -> str:
    """Digest of a training's configuration and, if another row made them, of the labels that it learns."""
    configs = REPOSITORY / "bundles" / job.bundle / "configs"
    files = [configs / f"{name}.yaml" for name in ("train", *job.mix_ins)]
    if job.labels_of:
        files.append(data / "datalist.json")  # holds the sha256 of every label
    parts = [*(file.read_bytes() for file in files), yaml.safe_dump(job.overrides).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def is_finished(done: Path, record: dict[str, Any]) -> bool:
    """Whether the training that ``done`` tells of is that of the record; one without a digest matches any."""
    if not done.is_file():
        return False
    old = json.loads(done.read_text(encoding="utf-8"))
    same_digest = old.get("digest", record["digest"]) == record["digest"]
    return bool(same_digest and old["options"] == record["options"])


def commit() -> str:
    """The commit of the working tree, with "+changes" if it differs from it."""
    words = ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout.strip()


def patients_of(datalist: Path) -> dict[str, list[str]]:
    """Patients of every section and supervision kind."""
    content = json.loads(datalist.read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for section in ("training", "validation", "test"):
        for item in content.get(section, []):
            found.setdefault(f"{section}, {item['supervision']}", set()).add(item["patient"])
    return {name: sorted(patients) for name, patients in found.items()}
