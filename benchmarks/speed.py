"""Price of everything around the network: python benchmarks/speed.py.

A training step of a bundle (drawing and augmenting the batch, loss, trainer, its handlers) beside the bare
network step (the same batch already a tensor, forward, cross-entropy, backward, optimizer), in turns in one
process. A bundle that is named in ``VIEWS`` gives the network each batch several times, and so does its bare
step. A bundle that is named in ``PLAIN`` is also put beside itself without its method.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import numpy as np
import torch
import typer
from monai.bundle import ConfigParser

from monai_ext.cams import by_modality
from monai_ext.inferers import AutocastInferer
from monai_ext.keys import IMAGE, LABEL, TAGS

REPOSITORY = Path(__file__).resolve().parents[1]
PLAIN: dict[str, dict[str, Any]] = {
    "noisy_label_segmentation": {"train::inferer::scales": [1], "correction::enabled": False},
}
"""Overrides that leave a plain training on the labels as they are."""
VIEWS = {"brats_weak_cam_segmentation": 2}


def random_items(channels: int, tagged: bool, count: int = 8, depth: int = 10) -> list[dict[str, Any]]:
    """Cases of noise: speed does not depend on the data.

    Half of the slices are tagged, or half of the cases fully and half partially labeled.
    """
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        image = torch.from_numpy(rng.random((channels, 128, 128, depth), dtype=np.float32))
        if tagged:
            tags = torch.arange(depth)[None] % 2
            items.append({"image": image, "tags": tags, "supervision": "tags"})
            continue
        label = rng.integers(0, 2, (1, 128, 128, depth))
        if number % 2:
            label[rng.random(label.shape) < 0.99] = 255
        kind = ("full", "partial")[number % 2]
        items.append({"image": image, "label": torch.from_numpy(label), "supervision": kind})
    return items


def bundle_training(bundle: str, folder: str, steps: int, overrides: dict[str, Any]) -> ConfigParser:
    """The bundle's own configuration on random cases, all handlers included; nothing is validated."""
    parser = ConfigParser()
    parser.read_config(str(REPOSITORY / "bundles" / bundle / "configs" / "train.yaml"))
    channels = len(parser.get("modalities", ["one"]))
    parser.update(
        {
            "bundle_root": folder,
            "train::dataset::data": random_items(channels, tagged="tags" in parser),
            "train::preprocessing": {"_target_": "Compose", "transforms": []},
            "validate::dataset::data": [],
            "train::dataloader::batches_per_epoch": steps,
            "train::trainer::max_epochs": 1,
            **overrides,
        }
    )
    return parser


def epochs_of(trainer: Any) -> Callable[[], None]:
    """Runs the trainer's only epoch anew at each call."""

    def run() -> None:
        trainer.state.epoch = trainer.state.iteration = 0
        trainer.run()

    return run


def bare_steps(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: dict[str, torch.Tensor],
    n: int,
    views: int,
) -> None:
    """Forward of every view, cross-entropy of every output, backward and optimizer, n times on one batch."""
    inferer = AutocastInferer()
    for _ in range(n):
        loss = sum(cross_entropy(inferer(batch[IMAGE], network), batch) for _ in range(views))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def cross_entropy(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of the mean of each score map against the tags, or of every output against the label map."""
    if TAGS in batch:
        scores = by_modality(logits).mean(dim=(-2, -1))
        return torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), batch[TAGS].repeat_interleave(scores.shape[1])
        )
    label = batch[LABEL][:, 0]
    outputs = logits.unbind(1) if logits.ndim == label.ndim + 2 else [logits]
    return torch.stack([torch.nn.functional.cross_entropy(z, label, ignore_index=255) for z in outputs]).sum()


def median_ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios turn by turn."""
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)


def main(
    bundle: Annotated[
        str, typer.Option(help="Name of a folder in bundles/.")
    ] = "lv_mixed_supervision_segmentation",
    steps: Annotated[int, typer.Option(help="Steps of each turn, an epoch of the bundle.")] = 50,
    turns: Annotated[int, typer.Option(help="Turns of both.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
) -> None:
    """Measure, print, and write benchmarks/results/speed_BUNDLE.json."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        parser = bundle_training(bundle, folder, steps, {})
        network, optimizer = parser.get_parsed_content("network"), parser.get_parsed_content("optimizer")
        batch = next(iter(parser.get_parsed_content("train::dataloader")))
        runs: dict[str, Callable[[], None]] = {
            "bare": lambda: bare_steps(network, optimizer, batch, steps, VIEWS.get(bundle, 1)),
            "bundle": epochs_of(parser.get_parsed_content("train::trainer")),
        }
        if bundle in PLAIN:
            plain = bundle_training(bundle, folder, steps, PLAIN[bundle])
            runs["plain"] = epochs_of(plain.get_parsed_content("train::trainer"))
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(turns + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                if turn:  # the first turn warms up
                    seconds[name].append((time.perf_counter() - start) / steps)
    result: dict[str, Any] = {
        "bundle": bundle,
        "command": f"python benchmarks/speed.py --bundle {bundle} --steps {steps} --turns {turns} "
        f"--threads {threads}",
        "machine": f"{platform.machine()}, {threads} threads, torch {torch.__version__}",
        "median_ms_per_step": {
            n: round(1000 * statistics.median(values), 1) for n, values in seconds.items()
        },
        "ratio": median_ratio(seconds["bundle"], seconds["bare"]),
    }
    if "plain" in seconds:
        result["ratio_to_plain"] = median_ratio(seconds["bundle"], seconds["plain"])
    file = REPOSITORY / "benchmarks" / "results" / f"speed_{bundle}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
