"""Prepare SegTHOR for the bundles: full, noisy or no labels for the training patients, and a datalist.

python datasets/segthor/prepare.py --raw DIR --out DIR --full 0 --noise symmetric --split 70/10/20 --seed 0
"""

import logging
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from monai_ext.datalist.datalist import dataset_name, write_datalist
from monai_ext.images.grids import Volume
from monai_ext.keys import DATALIST, Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.folders import image_file, patient_folders
from monai_ext.preparation.noise_options import NO_NOISE, NoiseOptions, noise_report
from monai_ext.preparation.options import Full, Out, Overwrite, Seed, Split, with_noise
from monai_ext.preparation.splits import assign_patients
from monai_ext.transforms.label_noise import noisy_label

logger = logging.getLogger("segthor")

LABELS = {0: "background", 1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"}
AIR = -500  # Hounsfield units; every scan of a thorax has voxels below


class Scan(NamedTuple):
    """The CT scan of a patient, who has one."""

    patient: prep.Patient
    image: Path
    mask: Path


def find_scans(raw: Path, split: str | None, full: str, seed: int, noise: NoiseOptions) -> list[Scan]:
    """Every scan to prepare, which has a folder; that the files are there shows now."""
    folders = patient_folders(raw, "Patient_", "Patient_NN with GT.nii.gz")
    patients = assign_patients(folders, raw, split, full, seed, Supervision.NONE, noise)
    places = [folders[patient.name] for patient in patients]
    return [
        Scan(patient, image_file(place / place.name), image_file(place / "GT"))
        for patient, place in zip(patients, places, strict=True)
    ]


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


def prepare_scan(
    scan: Scan, out: Path, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a patient that is not fully labeled, reference."""
    patient = scan.patient
    image = prep.read_image(scan.image)
    warn_without_air(image)
    truth = prep.read_label(scan.mask, image, LABELS)
    label = None if patient.kind is Supervision.NONE else truth
    if patient.corrupted:
        label = noisy_label(truth, [k for k in LABELS if k > 0], noise.noises, seed, patient.name)
    return prep.write_case(out, image, truth, label, patient=patient, case=patient.name)


def prepare(
    scans: list[Scan], out: Path, noise: NoiseOptions, seed: int, name: str
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all patients and the datalist; returns what the summary shows."""
    items, prepared = command.write_cases(scans, lambda scan: prepare_scan(scan, out, noise, seed), "SegTHOR")
    patients = [scan.patient for scan in scans]
    corrupted = [patient.name for patient in patients if patient.corrupted]
    report = noise_report(items["training"], out, LABELS, corrupted)
    made = command.describe("SegTHOR", seed, patients, noise=noise, report=report)
    write_datalist(out / DATALIST, name=name, labels=LABELS, description=made, **items)
    return prepared, report


@with_noise
def main(
    raw: Annotated[Path, typer.Option(help="The challenge's data: folders Patient_NN at any depth.")],
    out: Out,
    full: Full = "3",
    seed: Seed = 0,
    noise: NoiseOptions = NO_NOISE,
    split: Split = None,
    overwrite: Overwrite = False,
) -> None:
    """Prepare SegTHOR: a few full masks, noisy or no labels for the others, and a datalist."""
    with command.command_output(raw, out, overwrite) as staged:
        scans = find_scans(raw, split, full, seed, noise)
        prepared, report = prepare(scans, staged, noise, seed, dataset_name(raw, "SegTHOR"))
    command.show_summary(prepared, "SegTHOR", report, out)


if __name__ == "__main__":
    command.run(main)
