"""Prepare ACDC for the bundles: a few full masks, weak or noisy labels for the others, and a datalist.

python datasets/acdc/prepare.py --raw DIR --out DIR --full 3 --seed 0
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from monai_ext.datalist.datalist import dataset_name, write_datalist
from monai_ext.errors import InputError
from monai_ext.keys import DATALIST, UNLABELED, Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.folders import image_file, patient_folders
from monai_ext.preparation.noise_options import NO_NOISE, NoiseOptions, noise_report
from monai_ext.preparation.options import Full, Out, Overwrite, Seed, SpacingUnknown, Split, with_noise
from monai_ext.preparation.splits import assign_patients
from monai_ext.transforms.label_noise import noisy_label
from monai_ext.transforms.weak_labels import scribble_label, weak_label

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

    patient: prep.Patient
    stem: Path
    """Its file without suffix."""

    @property
    def case(self) -> str:
        """Name of the case: of the patient, and of the frame."""
        return self.patient.name + self.stem.name.removeprefix(self.stem.parent.name)

    def file(self, suffix: str = "") -> Path:
        """The image, or the file of it that ends on ``_gt`` or ``_scribble``."""
        return image_file(self.stem.with_name(f"{self.stem.name}{suffix}"))


def frame_names(folder: Path) -> list[str]:
    """Names of the end-diastolic and the end-systolic frame, as Info.cfg numbers them."""
    path = folder / "Info.cfg"
    try:
        pairs = (
            line.split(":", 1) for line in path.read_text(encoding="utf-8-sig").splitlines() if ":" in line
        )
        info = {key.strip(): value.strip() for key, value in pairs}
        return [f"{folder.name}_frame{number:02d}" for number in sorted({int(info["ED"]), int(info["ES"])})]
    except (OSError, KeyError, ValueError) as error:
        reason = {KeyError: f"no {error}", FileNotFoundError: "no file"}.get(type(error), str(error))
        raise InputError(
            f"{path}: Expected ED: NUMBER and ES: NUMBER, got {reason}; restore the file."
        ) from error


def find_frames(
    raw: Path, split: str | None, full: str, seed: int, scribbles: bool, noise: NoiseOptions
) -> list[Frame]:
    """Every frame to prepare; that their files are there shows now."""
    folders = patient_folders(raw, "patient", "patientNNN with Info.cfg")
    patients = assign_patients(folders, raw, split, full, seed, Supervision.PARTIAL, noise)
    frames = [
        Frame(patient, folders[patient.name] / case)
        for patient in patients
        for case in frame_names(folders[patient.name])
    ]
    for frame in frames:
        drawn = scribbles and frame.patient.kind is Supervision.PARTIAL
        for suffix in ("", "_gt", "_scribble") if drawn else ("", "_gt"):
            frame.file(suffix)
    return frames


def prepare_frame(
    frame: Frame, out: Path, task: Task, weak: Weak, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a frame that is not fully labeled, reference."""
    case, partial = frame.case, frame.patient.kind is Supervision.PARTIAL
    image = prep.read_image(frame.file())
    full_label = prep.read_label(frame.file("_gt"), image, CLASSES)
    truth = label = task.relabel(full_label)
    classes = [k for k in task.labels if k > 0]
    if frame.patient.corrupted:
        label = noisy_label(truth, classes, noise.noises, seed, case)
    elif partial and weak.strategy == "scribble":
        path = frame.file("_scribble")
        drawn = scribble_label(prep.read_label(path, image, range(NOT_ANNOTATED + 1)), NOT_ANNOTATED)
        label = task.relabel(prep.without_contradictions(drawn, full_label, path, MAX_CONTRADICTION))
    elif partial:
        label = weak_label(truth, classes, seed=seed, case=case, **weak._asdict())
    return prep.write_case(out, image, truth, label, patient=frame.patient, case=case)


def prepare(
    frames: list[Frame],
    out: Path,
    task: str,
    weak: Weak,
    noise: NoiseOptions,
    seed: int,
    spacing_unknown: bool,
    name: str,
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all frames and the datalist; returns what the summary shows."""
    labels = TASKS[task].labels
    items, prepared = command.write_cases(
        frames, lambda frame: prepare_frame(frame, out, TASKS[task], weak, noise, seed), "ACDC"
    )
    patients = list(dict.fromkeys(frame.patient for frame in frames))
    corrupted = [patient.name for patient in patients if patient.corrupted]
    report = noise_report(items["training"], out, labels, corrupted)
    options = ", ".join(f"{key} {value}" for key, value in weak._asdict().items())
    made = command.describe(f"ACDC, task {task}", seed, patients, options, noise, report)
    unit = command.measured_unit(prepared, spacing_unknown, "ACDC")
    write_datalist(out / DATALIST, name=name, labels=labels, unit=unit, description=made, **items)
    return prepared, report


@with_noise
def main(
    raw: Annotated[Path, typer.Option(help="The challenge's data: folders patientNNN at any depth.")],
    out: Out,
    full: Full = "3",
    seed: Seed = 0,
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
    noise: NoiseOptions = NO_NOISE,
    split: Split = None,
    spacing_unknown: SpacingUnknown = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare ACDC: a few full masks, weak or noisy labels for the other patients, and a datalist."""
    options = Weak(weak, background, ring_spots, ring, max_core_voxels)
    with command.command_output(raw, out, overwrite) as staged:
        frames = find_frames(raw, split, full, seed, weak == "scribble", noise)
        name = dataset_name(raw, "ACDC")
        prepared, report = prepare(frames, staged, task, options, noise, seed, spacing_unknown, name)
    command.show_summary(prepared, f"ACDC, task {task}", report, out)


if __name__ == "__main__":
    command.run(main)
