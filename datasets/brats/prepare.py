"""Prepare BraTS for the bundles: tags of slices, a few full masks, and a datalist.

python datasets/brats/prepare.py --raw DIR --out DIR --split 70/10/20 --seed 0
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from monai_ext.datalist.datalist import dataset_name
from monai_ext.images.files import Volume
from monai_ext.images.modalities import BRATS_2023
from monai_ext.keys import Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.scan_files import MASK, find_files, list_cases
from monai_ext.preparation.splits import assign_patients
from monai_ext.preparation.tags import prepare_with_tags, tag_options

MODALITIES = ("t1", "t1ce", "t2", "flair")
SUFFIXES = {
    "_": {name: name for name in (*MODALITIES, MASK)},  # 2018 to 2021
    "-": {**BRATS_2023, MASK: MASK},  # from 2023 on
}
TREE = "CASE_{t1,t1ce,t2,flair,seg}.nii.gz or CASE-{t1n,t1c,t2w,t2f,seg}.nii.gz"
NECROSIS, EDEMA, ENHANCING = 1, 2, (3, 4)  # 4 until 2021, 3 from 2023 on
REGIONS = {
    "whole": ("whole tumor", (NECROSIS, EDEMA, *ENHANCING)),
    "core": ("tumor core", (NECROSIS, *ENHANCING)),
    "enhancing": ("enhancing tumor", ENHANCING),
}


class RegionReader:
    """Reads a region from masks, which must all have one value for the enhancing tumor."""

    def __init__(self, region: str) -> None:
        self.values = REGIONS[region][1]
        self.enhancing: dict[int, Path] = {}

    def __call__(self, path: Path, image: Volume) -> NDArray[np.uint8]:
        """The region in a mask, 1 inside."""
        mask = prep.read_label(path, image, range(5))
        for value in ENHANCING:
            if (mask == value).any():
                self.enhancing.setdefault(value, path)
        if len(self.enhancing) > 1:
            raise ValueError(
                f"Expected 3 or 4 for the enhancing tumor, got 3 in {self.enhancing[3]} and 4 in "
                f"{self.enhancing[4]}; 4 may be a resection cavity: prepare scans before surgery alone."
            )
        return np.isin(mask, self.values).astype(np.uint8)


def patient_of(case: str) -> str:
    """The patient of a case: from 2023 on, cases are patients and timepoints."""
    return re.sub(r"^(BraTS-.*-\d{5})-\d{3}$", r"\1", case)


def main(
    raw: Annotated[Path, typer.Option(help=f"Files {TREE} at any depth.")],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    modalities: Annotated[
        str | None,
        typer.Option(help=f"Some of {','.join(MODALITIES)} in the order of the channels; else all."),
    ] = None,
    region: Annotated[
        Literal["whole", "core", "enhancing"], typer.Option(help="All of the tumor, or a part of it.")
    ] = "whole",
    full: Annotated[str, typer.Option(help="Training patients with full masks: a number or all.")] = "0",
    tags: Annotated[
        Path | None, typer.Option(help="CSV case,slice,tag, for training cases without mask.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the patients with full masks and the split.")] = 0,
    split: Annotated[
        str | None, typer.Option(help="CSV file, test, or shares such as 70/10/20; else split.csv in RAW.")
    ] = None,
    spacing_unknown: Annotated[bool, typer.Option("--spacing-unknown", help="Measure in voxels.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")] = False,
) -> None:
    """Prepare BraTS: tags of slices, a few full masks, and a datalist."""
    title = f"BraTS, {REGIONS[region][0]}"
    with command.command_output(raw, out, overwrite) as staged:
        options = tag_options(modalities, MODALITIES, tags)
        files = find_files(raw, SUFFIXES, TREE)
        patients = assign_patients(set(map(patient_of, files)), raw, split, full, seed, Supervision.TAGS)
        prepared, report = prepare_with_tags(
            list_cases(files, patients, patient_of, options.modalities, options.given),
            staged,
            options,
            RegionReader(region),
            title=title,
            name=dataset_name(raw, "BraTS"),
            labels={0: "background", 1: REGIONS[region][0]},
            seed=seed,
            spacing_unknown=spacing_unknown,
        )
    command.show_summary(prepared, title, report, out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False)
    app.command()(main)
    app()
