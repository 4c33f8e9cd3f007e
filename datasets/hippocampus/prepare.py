"""Prepare Hippocampus of the Medical Segmentation Decathlon: full, noisy or no labels, and a datalist.

python datasets/hippocampus/prepare.py --raw DIR --out DIR --full 0 --noise symmetric --seed 0
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ext.datalist.datalist import dataset_name, write_datalist
from monai_ext.errors import InputError
from monai_ext.images.search import stem
from monai_ext.keys import DATALIST, IMAGE, LABEL, Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.noise_options import NO_NOISE, NoiseOptions, noise_report
from monai_ext.preparation.options import Full, Out, Overwrite, Seed, with_noise
from monai_ext.preparation.splits import assign_patients
from monai_ext.transforms.label_noise import noisy_label

LABELS = {0: "background", 1: "anterior hippocampus", 2: "posterior hippocampus"}
INDEX = "dataset.json"
SHARES = "70/10/20"


def find_files(raw: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask of every case that the Decathlon's own index lists with a mask, by name."""
    path = raw / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8-sig"))
        name = index.get("name")
        pairs = [(raw / entry[IMAGE], raw / entry[LABEL]) for entry in index["training"]]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = "no file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise InputError(
            f'{path}: Expected JSON with a list "training" of image and label, got {reason}; '
            "check --raw or restore the file."
        ) from error
    if name != "Hippocampus" or not pairs:
        raise InputError(f"{path}: Expected cases of Hippocampus, got {len(pairs)} of {name}; check --raw.")
    for file in (file for pair in pairs for file in pair):
        if not file.is_file():
            raise InputError(f"{file}: Expected this file, found none; restore it or take it out of {path}.")
    return {stem(image): (image, mask) for image, mask in pairs}


def prepare_case(
    patient: prep.Patient, files: tuple[Path, Path], out: Path, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a case that is not fully labeled, reference; a patient has one case."""
    image = prep.read_image(files[0])
    truth = prep.read_label(files[1], image, LABELS)
    label = None if patient.kind is Supervision.NONE else truth
    if patient.corrupted:
        label = noisy_label(truth, [1, 2], noise.noises, seed, patient.name)
    return prep.write_case(out, image, truth, label, patient=patient, case=patient.name)


def prepare(
    patients: list[prep.Patient],
    files: dict[str, tuple[Path, Path]],
    out: Path,
    noise: NoiseOptions,
    seed: int,
    name: str,
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all cases and the datalist; returns what the summary shows."""
    items, prepared = command.write_cases(
        patients, lambda patient: prepare_case(patient, files[patient.name], out, noise, seed), "hippocampus"
    )
    corrupted = [patient.name for patient in patients if patient.corrupted]
    report = noise_report(items["training"], out, LABELS, corrupted)
    made = command.describe("MSD Task04 Hippocampus", seed, patients, noise=noise, report=report)
    write_datalist(out / DATALIST, name=name, labels=LABELS, description=made, **items)
    return prepared, report


@with_noise
def main(
    raw: Annotated[Path, typer.Option(help="Task04_Hippocampus: dataset.json, imagesTr/, labelsTr/.")],
    out: Out,
    full: Full = "3",
    seed: Seed = 0,
    noise: NoiseOptions = NO_NOISE,
    split: Annotated[
        str | None, typer.Option(help=f"CSV file, test, or shares; else split.csv in RAW, else {SHARES}.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Prepare MSD Hippocampus: a few full masks, noisy or no labels for the others, and a datalist."""
    with command.command_output(raw, out, overwrite) as staged:
        files = find_files(raw)
        if split is None and not (raw / prep.SPLIT_FILE).is_file():
            split = SHARES
        patients = assign_patients(files, raw, split, full, seed, Supervision.NONE, noise)
        prepared, report = prepare(patients, files, staged, noise, seed, dataset_name(raw, "MSD Hippocampus"))
    command.show_summary(prepared, "MSD Hippocampus", report, out)


if __name__ == "__main__":
    command.run(main)
