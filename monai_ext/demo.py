"""From nothing to a picture: data, training, evaluation, export and overlays, each by its public command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from monai_ext.data.phantom_files import write_heart_phantoms
from monai_ext.report import Predictor, write_sheet

REPOSITORY = Path(__file__).resolve().parents[1]
CALM_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


@dataclass(frozen=True)
class Demo:
    """What is particular to the demo of one bundle.

    Attributes:
        phantoms: writes a phantom data set in the raw layout of ``prepare``'s data set.
        prepare: script that makes the datalist, and its options.
    """

    phantoms: Callable[[Path], Path]
    prepare: tuple[str, ...]


DEMOS = {
    "lv_mixed_supervision_segmentation": Demo(
        write_heart_phantoms, ("datasets/acdc/prepare.py", "--full", "3", "--seed", "0")
    ),
}
PHANTOM_NOTE = "Computer-made phantoms: no result on them says anything about patients."


def run_demo(bundle: str, data: Path | None, out: Path) -> Path:
    """Run all steps of a bundle's demo and return the path of the picture.

    Args:
        bundle: name of a folder in ``bundles/``.
        data: raw data in the layout that the bundle's prepare script reads; None for phantoms.
        out: folder for everything that is made; a folder of an earlier demo is replaced.

    Raises:
        SystemExit: if there is no demo of that name, no such data, or a step fails.
    """
    if bundle not in DEMOS:
        sys.exit(f"Expected a bundle among {', '.join(sorted(DEMOS))}, got {bundle!r}.")
    if data is not None and not data.is_dir():
        sys.exit(f"Expected a folder of raw data at {data}, found none; check DATA.")
    if out.exists() and any(out.iterdir()) and not (out / ".demo").exists():
        sys.exit(
            f"Expected an empty folder or an earlier demo at {out}, got other files; choose one with --out."
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / ".demo").touch()
    root, prepared = out / "bundle", out / "data"
    shutil.copytree(
        REPOSITORY / "bundles" / bundle, root, ignore=shutil.ignore_patterns("*.pt", "*.ts", "eval")
    )
    demo, say = DEMOS[bundle], Console().rule
    if data is None:
        say("1/5 phantoms")
        raw = demo.phantoms(out / "raw")
    else:
        raw = data.resolve()
    say("2/5 labels and datalist")
    script, *options = demo.prepare
    step([str(REPOSITORY / script), "--raw", str(raw), "--out", str(prepared), *options], root)
    dataset = ["--dataset_dir", str(prepared)]
    say("3/5 training")
    step(
        [
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            "['configs/train.yaml','configs/demo.yaml']",
            *dataset,
        ],
        root,
    )
    say("4/5 evaluation and export")
    step(
        [
            "-m",
            "monai.bundle",
            "run",
            "--config_file",
            "['configs/train.yaml','configs/evaluate.yaml']",
            *dataset,
        ],
        root,
    )
    step(export_command(root), root)
    say("5/5 picture")
    note = PHANTOM_NOTE if data is None else f"{bundle}, {data}"
    picture = write_sheet(Predictor(root, prepared), prepared / "datalist.json", out / "sheet.png", note=note)
    tell(root, picture, data is None)
    return picture


def export_command(root: Path) -> list[str]:
    """Words of MONAI's command that writes ``models/model.ts``."""
    models = root / "models"
    options = {
        "net_id": "network_def",
        "config_file": "configs/inference.yaml",
        "meta_file": "configs/metadata.json",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    paths = ["--filepath", str(models / "model.ts"), "--ckpt_file", str(models / "model.pt")]
    return ["-m", "monai.bundle", "ckpt_export", *words, *paths]


def step(words: list[str], folder: Path) -> None:
    """Run Python with these words in the folder; end the program if it fails."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words], cwd=folder, env={**os.environ, **CALM_THREADS}
    )
    if done.returncode:
        sys.exit(f"The demo stopped, since this step failed: python {' '.join(words)}")


def tell(root: Path, picture: Path, phantoms: bool) -> None:
    """Print what came out and where it is."""
    summary = json.loads((root / "eval" / "summary.json").read_text(encoding="utf-8"))
    console = Console()
    console.rule("done")
    for name, part in {"student": summary, "teacher": summary.get("teacher")}.items():
        if part:
            dice, distance = part["mean"]["dice"], part["mean"]["hd95"]
            console.print(
                f"{name}: mean Dice {dice:.3f}, HD95 {distance:.1f} {summary['unit']}, unseen cases"
            )
    if phantoms:
        console.print(PHANTOM_NOTE)
    console.print(f"exported network: {root / 'models' / 'model.ts'}")
    console.print(f"picture: {picture.resolve()}", soft_wrap=True)
