"""Options that the prepare scripts share, as annotations of the arguments of their commands."""

from pathlib import Path
from typing import Annotated

import typer

from monai_ext.transforms.label_noise import PRESETS

Out = Annotated[Path, typer.Option(help="Folder to make.")]
Full = Annotated[str, typer.Option(help="Training patients with full masks: a number or all.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn: patients, split, labels.")]
Split = Annotated[
    str | None, typer.Option(help="CSV file, test, or shares such as 70/10/20; else split.csv in RAW.")
]
Noise = Annotated[
    list[str] | None, typer.Option(help=f"Noisy labels for the other patients: {', '.join(PRESETS)}.")
]
NoiseK = Annotated[tuple[int, int] | None, typer.Option(help="Its strength, LO HI.")]
NoiseUnder = Annotated[float | None, typer.Option(help="Share of eroded slices.")]
NoiseShare = Annotated[float, typer.Option(help="Share of these patients that get noise.")]
Tags = Annotated[Path | None, typer.Option(help="CSV case,slice,tag, for training cases without mask.")]
SpacingUnknown = Annotated[bool, typer.Option("--spacing-unknown", help="Measure in voxels.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")]
