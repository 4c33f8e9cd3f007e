"""From nothing to a picture: data, training, evaluation, export and overlays, each by its public command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from monai_ext.datalist.datalist import read_datalist
from monai_ext.errors import InputError
from monai_ext.keys import DATALIST
from monai_ext.phantoms.files import write_brain_phantoms, write_heart_phantoms, write_thorax_phantoms
from monai_ext.preparation.cases import SPLIT_FILE
from monai_ext.report import CORRECTED_LABELS, Predictor, write_sheet
from monai_ext.resources import bundle_folder, prepare_script

CONFIG_IS_CODE = "parsing config_file"
"""How MONAI's warning begins that a bundle's config is code; the demo's bundles are this repository's."""
CALM_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


@dataclass(frozen=True)
class Demo:
    """What is particular to the demo of one bundle.

    Attributes:
        phantoms: writes a phantom data set in the raw layout of ``prepare``'s data set.
        prepare: data set whose script makes the datalist, and the options of this script.
        mix_ins: configurations that training, evaluation and inference all need for these data.
        modality: the one that the picture shows, of images that have several.
    """

    phantoms: Callable[[Path], Path]
    prepare: tuple[str, ...]
    mix_ins: tuple[str, ...] = ()
    modality: str | None = None


DEMOS = {
    "brats_weak_cam_segmentation": Demo(
        partial(write_brain_phantoms, modalities=("t1", "flair")),
        ("brats", "--modalities", "t1,flair", "--seed", "0"),
        mix_ins=("phantoms",),
        modality="flair",
    ),
    "lv_mixed_supervision_segmentation": Demo(write_heart_phantoms, ("acdc", "--full", "3", "--seed", "0")),
    "noisy_label_segmentation": Demo(
        write_thorax_phantoms,
        ("segthor", "--full", "0", "--noise", "symmetric", "--seed", "0"),
        mix_ins=("ct",),
    ),
}


def run_demo(bundle: str, data: Path | None, out: Path) -> Path:
    """Run all steps of a bundle's demo and return the path of the picture.

    Args:
        bundle: name of a folder in ``bundles/``.
        data: raw data in the layout that the bundle's prepare script reads; None for phantoms.
        out: folder for everything that is made; a folder of an earlier demo is replaced.

    Raises:
        InputError: if there is no demo of that name, no such data, or a step fails.
    """
    if bundle not in DEMOS:
        raise InputError(f"Expected a bundle among {', '.join(sorted(DEMOS))}, got {bundle!r}.")
    make_room(data, out)
    demo, say = DEMOS[bundle], Console().rule
    root, prepared = out / "bundle", out / "data"
    shutil.copytree(
        bundle_folder(bundle),
        root,
        ignore=shutil.ignore_patterns("*.pt", "*.ts", "*.png", "eval", "cache"),
    )
    if data is None:
        say("1/5 phantoms")
    raw = demo.phantoms(out / "raw") if data is None else data.resolve()
    say("2/5 labels and datalist")
    dataset, *options = demo.prepare
    if not (raw / SPLIT_FILE).is_file():
        options += ["--split", "70/10/20"]
    python([str(prepare_script(dataset)), "--raw", str(raw), "--out", str(prepared), *options], root)
    say("3/5 training")
    training = ("train", *demo.mix_ins, "demo")
    python(bundle_command("run", files(*training), dataset_dir=prepared), root)
    say("4/5 evaluation and export")
    python(bundle_command("run", files(*training, "evaluate"), dataset_dir=prepared), root)
    places = {"filepath": root / "models" / "model.ts", "ckpt_file": root / "models" / "model.pt"}
    named = {"net_id": "network_def", "meta_file": "configs/metadata.json"}
    python(bundle_command("ckpt_export", files("inference", *demo.mix_ins), **named, **places), root)
    say("5/5 picture")
    predictor = Predictor(root, prepared, mix_ins=demo.mix_ins)
    picture = write_sheet(
        predictor,
        prepared / DATALIST,
        out / "sheet.png",
        modality=demo.modality,
        corrected=root / CORRECTED_LABELS,
    )
    tell(root, picture, read_datalist(prepared / DATALIST))
    return picture


def make_room(data: Path | None, out: Path) -> None:
    """Make an empty folder for the demo; InputError rather than touching anybody's data."""
    if data is not None and not data.is_dir():
        raise InputError(f"Expected a folder of raw data at {data}, found none; check DATA.")
    if data is not None and (data.resolve().is_relative_to(out) or out.is_relative_to(data.resolve())):
        raise InputError(
            f"Expected the data apart from the demo's folder, got {data} and {out}; choose another --out."
        )
    if out.exists() and any(out.iterdir()) and not (out / ".demo").exists():
        raise InputError(
            f"Expected an empty folder or an earlier demo at {out}, got other files; choose another --out."
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / ".demo").touch()


def files(*names: str) -> str:
    """The value of ``--config_file`` for some of a bundle's configurations, in this order."""
    return str([f"configs/{name}.yaml" for name in names])


def bundle_command(action: str, config_file: str, **options: object) -> list[str]:
    """Words of ``python -m monai.bundle ACTION``."""
    words = ["-m", "monai.bundle", action, "--config_file", config_file]
    return words + [word for key, value in options.items() for word in (f"--{key}", str(value))]


def python(words: list[str], folder: Path) -> None:
    """Run Python with these words in the folder; InputError if it fails."""
    done = subprocess.run(
        [sys.executable, "-W", f"ignore:{CONFIG_IS_CODE}", *words],
        cwd=folder,
        env={**os.environ, **CALM_THREADS},
    )
    if done.returncode:
        raise InputError(f"The demo stopped, since this step failed: python {' '.join(words)}")


def tell(root: Path, picture: Path, datalist: Mapping[str, Any]) -> None:
    """Print what came out, on what data, and where it is."""
    section = "test" if datalist["test"] else "validation"
    summary = json.loads((root / "eval" / "summary.json").read_text(encoding="utf-8"))
    console = Console()
    console.rule("done")
    console.print(f"data: {datalist['name']}")
    final = "student" if "teacher" in summary else "prediction"
    for name, part in {final: summary, "teacher": summary.get("teacher")}.items():
        if part and part["mean"]["dice"] is not None:
            dice, distance = part["mean"]["dice"], part["mean"]["hd95"]
            console.print(
                f"{name}: mean Dice {dice:.3f}, HD95 {distance:.1f} {summary['unit']}, {section} cases"
            )
    console.print(f"exported network: {root / 'models' / 'model.ts'}", soft_wrap=True)
    console.print(f"picture: {picture.resolve()}", soft_wrap=True)
