"""Prepare BraTS for the bundles: tags of slices, a few full masks, and a datalist.

python datasets/brats/prepare.py --raw DIR --out DIR --split 70/10/20 --seed 0
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from monai_ext.datalist.datalist import dataset_name
from monai_ext.errors import InputError
from monai_ext.images.grids import Volume
from monai_ext.images.modalities import BRATS_2023
from monai_ext.keys import Supervision
from monai_ext.preparation import cases as prep
from monai_ext.preparation import command
from monai_ext.preparation.options import Full, Modalities, Out, Overwrite, Seed, SpacingUnknown, Split, Tags
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
            raise InputError(
                f"Expected 3 or 4 for the enhancing tumor, got 3 in {self.enhancing[3]} and 4 in "
                f"{self.enhancing[4]}; 4 may be a resection cavity: prepare scans before surgery alone."
            )
        return np.isin(mask, self.values).astype(np.uint8)


def patient_of(case: str) -> str:
    """The patient of a case: from 2023 on, cases are patients and timepoints.

    These numbers are unique, so folders in front of one, where it repeats, make no other patient.
    """
    found = re.search(r"(BraTS-[^_]*-\d{5})-\d{3}$", case)
    return found[1] if found else case


def main(
    raw: Annotated[Path, typer.Option(help=f"Files {TREE} at any depth.")],
    out: Out,
    modalities: Modalities = None,
    region: Annotated[
        Literal["whole", "core", "enhancing"], typer.Option(help="All of the tumor, or a part of it.")
    ] = "whole",
    full: Full = "0",
    tags: Tags = None,
    seed: Seed = 0,
    split: Split = None,
    spacing_unknown: SpacingUnknown = False,
    overwrite: Overwrite = False,
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
    command.run(main)
