"""Prepare Hippocampus of the Medical Segmentation Decathlon: full, noisy or no labels, and a datalist.

python datasets/hippocampus/prepare.py --raw DIR --out DIR --full 0 --noise symmetric --seed 0
"""

import json
import logging
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import track

from monai_ext.data import preparation as prep
from monai_ext.data.datalist import dataset_name, write_datalist
from monai_ext.data.image_files import read_volume
from monai_ext.data.noise_options import NoiseOptions, noise_options, noise_report
from monai_ext.keys import IMAGE, LABEL, Supervision
from monai_ext.transforms.label_noise import PRESETS, noisy_label

LABELS = {0: "background", 1: "anterior hippocampus", 2: "posterior hippocampus"}
INDEX = "dataset.json"
SHARES = "70/10/20"


class Case(NamedTuple):
    """One volume; every one is of another patient."""

    section: str
    name: str
    image: Path
    mask: Path
    kind: Supervision
    corrupted: bool
    """Whether its label gets noise."""


def find_files(raw: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask of every case that the Decathlon's own index lists with a mask, by name."""
    path = raw / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        name = index.get("name")
        pairs = [(raw / entry[IMAGE], raw / entry[LABEL]) for entry in index["training"]]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = "no file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise ValueError(
            f'{path}: Expected JSON with a list "training" of image and label, got {reason}; '
            "check --raw or restore the file."
        ) from error
    if name != "Hippocampus" or not pairs:
        raise ValueError(f"{path}: Expected cases of Hippocampus, got {len(pairs)} of {name}; check --raw.")
    for file in (file for pair in pairs for file in pair):
        if not file.is_file():
            raise ValueError(f"{file}: Expected this file, found none; restore it or take it out of {path}.")
    return {image.name.removesuffix(".gz").removesuffix(".nii"): (image, mask) for image, mask in pairs}


def find_cases(raw: Path, split: str | None, full: str, seed: int, noise: NoiseOptions) -> list[Case]:
    """Every case to prepare; that its files are there shows now."""
    files = find_files(raw)
    if split is None and not (raw / prep.SPLIT_FILE).is_file():
        split = SHARES
    sections = prep.resolve_split(split, raw, files, seed)
    complete = prep.select_full(sections["training"], full, seed)
    others = sorted(set(sections["training"]) - set(complete))
    kinds = dict.fromkeys(others, Supervision.NOISY if noise.noises else Supervision.NONE)
    corrupted = noise.choose(others, seed)
    return [
        Case(section, name, *files[name], kinds.get(name, Supervision.FULL), name in corrupted)
        for section, names in sections.items()
        for name in names
    ]


def prepare_case(
    case: Case, out: Path, noise: NoiseOptions, seed: int
) -> tuple[dict[str, Any], prep.Prepared]:
    """Write image, label and, of a case that is not fully labeled, reference."""
    image = read_volume(case.image)
    truth = prep.read_label(case.mask, image, LABELS)
    label = None if case.kind is Supervision.NONE else truth
    if case.corrupted:
        label = noisy_label(truth, [1, 2], noise.noises, seed, case.name)
    about = {"section": case.section, "kind": case.kind, "case": case.name, "patient": case.name}
    return prep.write_case(out, image, truth, label, **about)


def prepare(
    cases: list[Case], out: Path, noise: NoiseOptions, seed: int, name: str
) -> tuple[list[prep.Prepared], str]:
    """Write the files of all cases and the datalist; returns what the summary shows."""
    items: dict[str, list[dict[str, Any]]] = {"training": [], "validation": [], "test": []}
    prepared = []
    for case in track(cases, "hippocampus", console=Console(stderr=True), transient=True):
        item, counts = prepare_case(case, out, noise, seed)
        items[case.section].append(item)
        prepared.append(counts)
    full = [case.name for case in cases if case.section == "training" and case.kind is Supervision.FULL]
    corrupted = [case.name for case in cases if case.corrupted]
    report = noise_report(items["training"], out, LABELS, corrupted)
    made = [f"MSD Task04 Hippocampus, seed {seed}; full masks in training: {', '.join(full) or 'none'}"]
    if noise.noises:
        made += [noise.describe(corrupted), *report.splitlines()]
    write_datalist(out / prep.DATALIST, name=name, labels=LABELS, description="; ".join(made), **items)
    return prepared, report


def main(
    raw: Annotated[Path, typer.Option(help="Task04_Hippocampus: dataset.json, imagesTr/, labelsTr/.")],
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
        str | None, typer.Option(help=f"CSV file, test, or shares; else split.csv in RAW, else {SHARES}.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")] = False,
) -> None:
    """Prepare MSD Hippocampus: a few full masks, noisy or no labels for the others, and a datalist."""
    try:
        if raw.resolve().is_relative_to(out.resolve()):
            raise ValueError(
                f"Expected --out apart from --raw, got {out}, which holds {raw}; choose another."
            )
        mistakes = noise_options(noise, noise_k, noise_under, noise_share)
        with prep.staged_folder(out, overwrite) as staged:
            cases = find_cases(raw, split, full, seed, mistakes)
            prepared, report = prepare(cases, staged, mistakes, seed, dataset_name(raw, "MSD Hippocampus"))
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(code=1) from None
    Console().print(prep.summary_table(prepared, "MSD Hippocampus", report))
    typer.echo(f"wrote {out / prep.DATALIST}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app()
