"""Prepare SegTHOR for the bundles: full, noisy or no labels for the training patients, and a datalist.

python datasets/segthor/prepare.py --raw DIR --out DIR --full 0 --noise symmetric --split 70/10/20 --seed 0
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import track

from monai_ext.data import preparation as prep
from monai_ext.data.datalist import dataset_name, write_datalist
from monai_ext.data.image_files import Volume, read_volume
from monai_ext.data.noise_options import NoiseOptions, noise_options, noise_report
from monai_ext.keys import Supervision
from monai_ext.transforms.label_noise import PRESETS, noisy_label

logger = logging.getLogger("segthor")

LABELS = {0: "background", 1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"}
AIR = -500  # Hounsfield units; every scan of a thorax has voxels below


class Patient(NamedTuple):
    """One CT scan, which is one case."""

    section: str
    folder: Path
    kind: Supervision
    corrupted: bool
    """Whether its label gets noise."""

    def file(self, stem: str) -> Path:
        """The file of this name in the folder, compressed or not."""
        for path in (self.folder / f"{stem}.nii.gz", self.folder / f"{stem}.nii"):
            if path.is_file():
                return path
        missing = self.folder / f"{stem}.nii.gz"
        raise ValueError(f"{missing}: Expected this file, found none; restore it or take out the patient.")


def find_folders(raw: Path) -> dict[str, Path]:
    """Folders named Patient_NN at any depth, by name; the challenge's images without label lie in none."""
    found: dict[str, Path] = {}
    for folder in sorted(raw.rglob("Patient_*")):
        if not folder.is_dir() or not re.fullmatch(r"Patient_\d+", folder.name) or "__MACOSX" in folder.parts:
            continue
        if folder.name in found:
            raise ValueError(
                f"{folder}: Expected each patient once, got {found[folder.name]} too; remove one."
            )
        found[folder.name] = folder
    if not found:
        raise ValueError(f"Expected folders Patient_NN with GT.nii.gz under {raw}, found none; check --raw.")
    return found


def find_patients(raw: Path, split: str | None, full: str, seed: int, noise: NoiseOptions) -> list[Patient]:
    """Every patient to prepare; that the files are there shows now."""
    folders = find_folders(raw)
    sections = prep.resolve_split(split, raw, folders, seed)
    complete = prep.select_full(sections["training"], full, seed)
    others = sorted(set(sections["training"]) - set(complete))
    kinds = dict.fromkeys(others, Supervision.NOISY if noise.noises else Supervision.NONE)
    corrupted = noise.choose(others, seed)
    patients = [
        Patient(section, folders[name], kinds.get(name, Supervision.FULL), name in corrupted)
        for section, names in sections.items()
        for name in names
    ]
    for patient in patients:
        patient.file(patient.folder.name), patient.file("GT")
    return patients


def warn_without_air(image: Volume) -> None:
    """Say so if the values can be no Hounsfield units, which the bundles' window assumes."""
    if (low := image.array.min()) > AIR:
        logger.warning(
            "%s: Expected Hounsfield units with air below %d, got no value below %g; the window of the "
            "bundle's config will not fit",
            image.path,
            AIR,
            low,
        )


def prepare_patient(
    patient: Patient, out: Path, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a patient that is not fully labeled, reference."""
    name = patient.folder.name
    image = read_volume(patient.file(name))
    warn_without_air(image)
    truth = prep.read_label(patient.file("GT"), image, LABELS)
    label = None if patient.kind is Supervision.NONE else truth
    if patient.corrupted:
        label = noisy_label(truth, [k for k in LABELS if k > 0], noise.noises, seed, name)
    about = {"section": patient.section, "kind": patient.kind, "case": name, "patient": name}
    return prep.write_case(out, image, truth, label, **about)


def prepare(
    patients: list[Patient], out: Path, noise: NoiseOptions, seed: int, name: str
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all patients and the datalist; returns what the summary shows."""
    items: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    prepared = []
    for patient in track(patients, "SegTHOR", console=Console(stderr=True), transient=True):
        item, counts = prepare_patient(patient, out, noise, seed)
        items[patient.section].append(item)
        prepared.append(counts)
    training = [patient for patient in patients if patient.section == "training"]
    full = [patient.folder.name for patient in training if patient.kind is Supervision.FULL]
    corrupted = [patient.folder.name for patient in training if patient.corrupted]
    report = noise_report(items["training"], out, LABELS, corrupted)
    made = [f"SegTHOR, seed {seed}; full masks in training: {', '.join(full) or 'none'}"]
    if noise.noises:
        made += [noise.describe(corrupted), *report.splitlines()]
    write_datalist(out / prep.DATALIST, name=name, labels=LABELS, description="; ".join(made), **items)
    return prepared, report


def main(
    raw: Annotated[Path, typer.Option(help="The challenge's data: folders Patient_NN at any depth.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    full: Annotated[str, typer.Option(help="Training patients with full masks: a number or all.")] = "3",
    seed: Annotated[int, typer.Option(min=0, help="Of these patients, the split and the noise.")] = 0,
    noise: Annotated[
        list[str] | None, typer.Option(help=f"Noisy labels for the others: {', '.join(PRESETS)}.")
    ] = None,
    noise_k: Annotated[tuple[int, int] | None, typer.Option(help="Its strength, LO HI.")] = None,
    noise_under: Annotated[float | None, typer.Option(help="Share of eroded slices.")] = None,
    noise_share: Annotated[float, typer.Option(help="Share of these patients that get noise.")] = 1.0,
    split: Annotated[
        str | None, typer.Option(help="CSV file, test, or shares such as 70/10/20; else split.csv in RAW.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")] = False,
) -> None:
    """Prepare SegTHOR: a few full masks, noisy or no labels for the others, and a datalist."""
    try:
        if raw.resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"Expected --out apart from --raw, got {out}, which holds {raw}; choose another."
            )
        mistakes = noise_options(noise, noise_k, noise_under, noise_share)
        with prep.staged_folder(out, overwrite) as staged:
            patients = find_patients(raw, split, full, seed, mistakes)
            prepared, report = prepare(patients, staged, mistakes, seed, dataset_name(raw, "SegTHOR"))
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code=1) from None
    Console().print(prep.summary_table(prepared, "SegTHOR", report))
    typer.echo(f"wrote {out / prep.DATALIST}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app()
