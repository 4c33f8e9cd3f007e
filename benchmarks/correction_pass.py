"""Price of a correction of labels: python benchmarks/correction_pass.py --dataset-dir DATA_DIR.

A correction pass of the bundle for noisy labels over its noisy training cases beside the bundle's own
evaluation of its validation cases, in turns in one process, both by case. Images are read before the clock
starts. The evaluation is the network's pass, the inversion to the grid of the file, Dice and HD95, and the
files with the scores.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
import typer
from monai.bundle import ConfigParser
from speed import REPOSITORY, median_ratio

BUNDLE = "noisy_label_segmentation"


def parts_of(dataset_dir: Path, folder: str, cases: int) -> dict[str, Callable[[], int]]:
    """Both passes; each returns its number of cases."""
    root = REPOSITORY / "bundles" / BUNDLE
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / f"{name}.yaml") for name in ("train", "evaluate")])
    parser.update({"bundle_root": folder, "dataset_dir": str(dataset_dir), "ckpt_dir": str(root / "models")})
    parser["train"]["dataset"]["data"] = f"$bundle.read_items(@datalist, 'training')[:{cases}]"
    evaluator, correction = (parser.get_parsed_content(key) for key in ("validate::evaluator", "correction"))
    state = torch.load(root / "models" / "model.pt", map_location="cpu", weights_only=True)
    correction.averaged.load_state_dict(state)
    classes = list(range(1, parser.get_parsed_content("num_classes")))
    count = len(parser.get_parsed_content("validate::dataset"))

    def evaluate() -> int:
        evaluator.run()
        return count

    def correct() -> int:
        correction.correct(1, classes)
        return len(correction.journal.items)

    return {"evaluation": evaluate, "correction": correct}


def main(
    dataset_dir: Annotated[Path, typer.Option(help="Folder of a datalist with noisy labels.")],
    cases: Annotated[int, typer.Option(help="Training cases, at most.")] = 20,
    turns: Annotated[int, typer.Option(help="Turns of both.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Measure, print, and write benchmarks/results/correction_pass.json."""
    torch.set_num_threads(threads)
    seconds: dict[str, list[float]] = {"evaluation": [], "correction": []}
    with tempfile.TemporaryDirectory() as folder:
        parts = parts_of(dataset_dir.resolve(), folder, cases)
        for turn in range(turns + 1):
            for name, run in parts.items():
                start = time.perf_counter()
                count = run()
                if turn:  # the first turn warms up
                    seconds[name].append((time.perf_counter() - start) / count)
    options = f"--dataset-dir DATA_DIR --cases {cases} --turns {turns} --threads {threads}"
    result = {
        "bundle": BUNDLE,
        "command": f"python benchmarks/correction_pass.py {options}",
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}",
        "ms_per_case": {name: round(1000 * statistics.median(values), 1) for name, values in seconds.items()},
        "ratio": median_ratio(seconds["correction"], seconds["evaluation"]),
    }
    file = REPOSITORY / "benchmarks" / "results" / "correction_pass.json"
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
