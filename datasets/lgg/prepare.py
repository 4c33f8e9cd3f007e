"""Prepare brain MR of lower-grade glioma for the bundles: tags of slices, a few full masks, and a datalist.

python datasets/lgg/prepare.py --raw DIR --out DIR
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from monai_ext.datalist.datalist import dataset_name
from monai_ext.images.grids import Volume
from monai_ext.keys import Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.options import Full, Modalities, Out, Overwrite, Seed, SpacingUnknown, Split, Tags
from monai_ext.preparation.scan_files import MASK, find_files, list_cases
from monai_ext.preparation.splits import assign_patients
from monai_ext.preparation.tags import prepare_with_tags, tag_options

LABELS = {0: "background", 1: "FLAIR abnormality"}
MODALITIES = ("t1", "flair", "t1ce")
SUFFIXES = {"_": {name: name for name in (*MODALITIES, MASK)}}
TREE = "CASE_{t1,flair,t1ce,seg}.nii.gz"


def read_tumor(path: Path, image: Volume) -> NDArray[np.uint8]:
    """The mask of a case."""
    return prep.read_label(path, image, LABELS)


def flair_copies(raw: Path, modalities: list[str]) -> list[str]:
    """In how many cases a modality is a copy of FLAIR, a line each, as far as split.csv says so."""
    path = raw / prep.SPLIT_FILE
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    counts = {name: sum(row.get(f"{name}_is_flair_copy") == "1" for row in rows) for name in modalities}
    found = {name: count for name, count in counts.items() if count}
    return [f"{name} is a copy of FLAIR in {count} of {len(rows)} cases" for name, count in found.items()]


def main(
    raw: Annotated[Path, typer.Option(help="Files CASE_{t1,flair,t1ce,seg}.nii.gz at any depth.")],
    out: Out,
    modalities: Modalities = None,
    full: Full = "0",
    tags: Tags = None,
    seed: Seed = 0,
    split: Split = None,
    spacing_unknown: SpacingUnknown = False,
    overwrite: Overwrite = False,
) -> None:
    """Prepare brain MR of lower-grade glioma: tags of slices, a few full masks, and a datalist."""
    with command.command_output(raw, out, overwrite) as staged:
        options = tag_options(modalities, MODALITIES, tags)
        files = find_files(raw, SUFFIXES, TREE)
        patients = assign_patients(files, raw, split, full, seed, Supervision.TAGS)
        prepared, report = prepare_with_tags(
            list_cases(files, patients, str, options.modalities, options.given),
            staged,
            options,
            read_tumor,
            title="LGG",
            name=dataset_name(raw, "LGG"),
            labels=LABELS,
            seed=seed,
            spacing_unknown=spacing_unknown,
            no_1_mm="LGG",
            notes=flair_copies(raw, options.modalities),
        )
    command.show_summary(prepared, "LGG", report, out)


if __name__ == "__main__":
    command.run(main)
