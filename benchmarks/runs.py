"""Train and evaluate a row with the bundle's own commands, in a copy of the bundle, each with one thread."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from plan import REPOSITORY, Job

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def make_labels(job: Job, data: Path, teacher: Path, out: Path) -> Path | None:
    """Let the networks of another row make the labels of the training set; return the log if it failed.

    Its maps are cut around the threshold that is best for the validation patients.
    """
    shutil.rmtree(out, ignore_errors=True)
    log = out.with_name(f"{out.name}.txt")
    configs = REPOSITORY / "bundles" / job.labels_bundle / "configs"
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
