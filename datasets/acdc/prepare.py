"""Prepare ACDC for the bundles: a few full masks, weak or noisy labels for the others, and a datalist.

python datasets/acdc/prepare.py --raw DIR --out DIR --full 3 --seed 0
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from monai_ext.data import preparation as prep
from monai_ext.data.datalist import dataset_name, write_datalist
from monai_ext.data.image_files import read_volume
from monai_ext.data.noise_options import NoiseOptions, noise_options, noise_report
from monai_ext.keys import UNLABELED, Supervision
from monai_ext.transforms.label_noise import PRESETS, noisy_label
from monai_ext.transforms.weak_labels import scribble_label, weak_label

logger = logging.getLogger("acdc")

CLASSES = range(4)  # background, right ventricle, myocardium, left ventricle cavity
NOT_ANNOTATED = 4  # in a scribble file
MAX_CONTRADICTION = 0.01  # of a scribble's voxels; in the published files up to 0.003


class Task(NamedTuple):
    """Name of each class, and the class that each value of ACDC becomes."""

    labels: dict[int, str]
    class_of: tuple[int, int, int, int]

    def relabel(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Classes of the task; ``UNLABELED`` stays."""
        table = np.full(256, UNLABELED, dtype=np.uint8)
        table[: len(CLASSES)] = self.class_of
        return np.asarray(table[label])


TASKS = {
    "lv": Task({0: "background", 1: "left ventricle cavity"}, (0, 0, 0, 1)),
    "heart": Task(
        {0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle cavity"}, (0, 1, 2, 3)
    ),
}


class Weak(NamedTuple):
    """How weak labels are made; the defaults are those of the command."""

    strategy: Literal["erosion", "random", "centroid", "scribble"] = "random"
    background: int = 6
    ring_spots: int = 10
    ring: tuple[float, float] = (1, 5)
    max_core_voxels: int | None = None


class Frame(NamedTuple):
    """The end-diastolic or the end-systolic volume of a patient."""

    section: str
    case: str
    folder: Path
    kind: Supervision
    corrupted: bool
    """Whether its label gets noise."""

    def file(self, suffix: str = "") -> Path:
        """The image, or the file of it that ends on ``_gt`` or ``_scribble``."""
        stem = self.folder / f"{self.case}{suffix}"
        for path in (Path(f"{stem}.nii.gz"), Path(f"{stem}.nii")):
            if path.is_file():
                return path
        raise ValueError(
            f"{stem}.nii.gz: Expected this file, found none; restore it or take out the patient."
        )


def find_patients(raw: Path) -> dict[str, Path]:
    """Folders named patientNNN at any depth, by name."""
    found: dict[str, Path] = {}
    for folder in sorted(raw.rglob("patient*")):
        if not folder.is_dir() or not re.fullmatch(r"patient\d+", folder.name) or "__MACOSX" in folder.parts:
            continue
        if folder.name in found:
            raise ValueError(
                f"{folder}: Expected each patient once, got {found[folder.name]} too; remove one."
            )
        found[folder.name] = folder
    if not found:
        raise ValueError(f"Expected folders patientNNN with Info.cfg under {raw}, found none; check --raw.")
    return found


def frame_names(folder: Path) -> list[str]:
    """Names of the end-diastolic and the end-systolic frame, as Info.cfg numbers them."""
    path = folder / "Info.cfg"
    try:
        pairs = (line.split(":", 1) for line in path.read_text(encoding="utf-8").splitlines() if ":" in line)
        info = {key.strip(): value.strip() for key, value in pairs}
        return [f"{folder.name}_frame{number:02d}" for number in sorted({int(info["ED"]), int(info["ES"])})]
    except (OSError, KeyError, ValueError) as error:
        reason = {KeyError: f"no {error}", FileNotFoundError: "no file"}.get(type(error), str(error))
        raise ValueError(
            f"{path}: Expected ED: NUMBER and ES: NUMBER, got {reason}; restore the file."
        ) from error


def prepare_frame(
    frame: Frame, out: Path, task: Task, weak: Weak, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a frame that is not fully labeled, reference."""
    image = read_volume(frame.file())
    full_label = prep.read_label(frame.file("_gt"), image, CLASSES)
    truth = label = task.relabel(full_label)
    classes = [k for k in task.labels if k > 0]
    if frame.corrupted:
        label = noisy_label(truth, classes, noise.noises, seed, frame.case)
    elif frame.kind is Supervision.PARTIAL and weak.strategy == "scribble":
        path = frame.file("_scribble")
        drawn = scribble_label(prep.read_label(path, image, range(NOT_ANNOTATED + 1)), NOT_ANNOTATED)
        label = task.relabel(prep.without_contradictions(drawn, full_label, path, MAX_CONTRADICTION))
    elif frame.kind is Supervision.PARTIAL:
        label = weak_label(truth, classes, seed=seed, case=frame.case, **weak._asdict())
    about = {"section": frame.section, "kind": frame.kind, "case": frame.case, "patient": frame.folder.name}
    return prep.write_case(out, image, truth, label, **about)


def find_frames(
    raw: Path, split: str | None, full: str, seed: int, scribbles: bool, noise: NoiseOptions
) -> list[Frame]:
    """Every frame to prepare; that their files are there shows now."""
    folders = find_patients(raw)
    sections = prep.resolve_split(split, raw, folders, seed)
    complete = prep.select_full(sections["training"], full, seed)
    others = sorted(set(sections["training"]) - set(complete))
    kinds = dict.fromkeys(others, Supervision.NOISY if noise.noises else Supervision.PARTIAL)
    corrupted = noise.choose(others, seed)
    frames = [
        Frame(section, case, folders[name], kinds.get(name, Supervision.FULL), name in corrupted)
        for section, names in sections.items()
        for name in names
        for case in frame_names(folders[name])
    ]
    for frame in frames:
        drawn = scribbles and frame.kind is Supervision.PARTIAL
        for suffix in ("", "_gt", "_scribble") if drawn else ("", "_gt"):
            frame.file(suffix)
    return frames


def prepare(
    frames: list[Frame],
    out: Path,
    task: str,
    weak: Weak,
    noise: NoiseOptions,
    seed: int,
    unit: str,
    name: str,
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all frames and the datalist; returns what the summary shows."""
    items: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    cases = []
    for frame in track(frames, "ACDC", console=Console(stderr=True), transient=True):
        item, case = prepare_frame(frame, out, TASKS[task], weak, noise, seed)
        items[frame.section].append(item)
        cases.append(case)
    if unit == "mm" and all(np.allclose(case.spacing, 1) for case in cases):
        logger.warning(
            "Every header says 1 x 1 x 1 mm, as no ACDC scan is: the spacing was lost; unit: voxel"
        )
        unit = "voxel"
    labels, training = TASKS[task].labels, [frame for frame in frames if frame.section == "training"]
    full = sorted({frame.folder.name for frame in training if frame.kind is Supervision.FULL})
    corrupted = {frame.folder.name for frame in training if frame.corrupted}
    report = noise_report(items["training"], out, labels, corrupted)
    made = f"ACDC, task {task}, seed {seed}; full masks in training: {', '.join(full) or 'none'}; "
    if noise.noises:
        made += "; ".join([noise.describe(corrupted), *report.splitlines()])
    else:
        made += ", ".join(f"{key} {value}" for key, value in weak._asdict().items())
    write_datalist(out / prep.DATALIST, name=name, labels=labels, unit=unit, description=made, **items)
    return cases, report


def main(
    raw: Annotated[Path, typer.Option(help="The challenge's data: folders patientNNN at any depth.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    full: Annotated[str, typer.Option(help="Training patients with full masks: a number or all.")] = "3",
    seed: Annotated[int, typer.Option(min=0, help="Of these patients, the split and the weak labels.")] = 0,
    task: Annotated[
        Literal["lv", "heart"], typer.Option(help="Cavity only, or RV, myocardium, cavity.")
    ] = "lv",
    weak: Annotated[
        Literal["erosion", "random", "centroid", "scribble"],
        typer.Option(help="Labels of the other patients."),
    ] = Weak().strategy,
    background: Annotated[
        int, typer.Option(min=0, help="Marked background voxels a slice (scribbles have their own).")
    ] = Weak().background,
    ring_spots: Annotated[
        int, typer.Option(min=0, help="Further ones close to the foreground.")
    ] = Weak().ring_spots,
    ring: Annotated[
        tuple[float, float], typer.Option(help="How close: NEAR FAR, in voxels from the foreground.")
    ] = Weak().ring,
    max_core_voxels: Annotated[
        int | None,
        typer.Option(min=1, help="Marked voxels of a class and slice, at most (not for scribbles)."),
    ] = Weak().max_core_voxels,
    noise: Annotated[
        list[str] | None, typer.Option(help=f"Noisy labels instead of weak ones: {', '.join(PRESETS)}.")
    ] = None,
    noise_k: Annotated[tuple[int, int] | None, typer.Option(help="Its strength, LO HI.")] = None,
    noise_under: Annotated[float | None, typer.Option(help="Share of eroded slices.")] = None,
    noise_share: Annotated[float, typer.Option(help="Share of these patients that get noise.")] = 1.0,
    split: Annotated[
        str | None, typer.Option(help="CSV file, test, or shares such as 70/10/20; else split.csv in RAW.")
    ] = None,
    spacing_unknown: Annotated[bool, typer.Option("--spacing-unknown", help="Measure in voxels.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")] = False,
) -> None:
    """Prepare ACDC: a few full masks, weak or noisy labels for the other patients, and a datalist."""
    options = Weak(weak, background, ring_spots, ring, max_core_voxels)
    try:
        if raw.resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"Expected --out apart from --raw, got {out}, which holds {raw}; choose another."
            )
        mistakes = noise_options(noise, noise_k, noise_under, noise_share)
        with prep.staged_folder(out, overwrite) as staged:
            frames = find_frames(raw, split, full, seed, weak == "scribble", mistakes)
            unit = "voxel" if spacing_unknown else "mm"
            name = dataset_name(raw, "ACDC")
            cases, report = prepare(frames, staged, task, options, mistakes, seed, unit, name)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code=1) from None
    Console().print(prep.summary_table(cases, f"ACDC, task {task}", report))
    typer.echo(f"wrote {out / prep.DATALIST}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app()
