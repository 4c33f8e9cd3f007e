"""Options that the prepare scripts share, as annotations of the arguments of their commands."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_ext.preparation.noise_options import noise_options
from monai_ext.transforms.label_noise import PRESETS

Out = Annotated[Path, typer.Option(help="Folder to make.")]
Full = Annotated[str, typer.Option(help="Training patients with full masks: a number or all.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn: patients, split, labels.")]
Split = Annotated[
    str | None, typer.Option(help="CSV file, test, or shares such as 70/10/20; else split.csv in RAW.")
]
Tags = Annotated[Path | None, typer.Option(help="CSV case,slice,tag, for training cases without mask.")]
SpacingUnknown = Annotated[bool, typer.Option("--spacing-unknown", help="Measure in voxels.")]
Modalities = Annotated[
    str | None,
    typer.Option(help="Those to use of CASE_..., such as t1,flair, in the order of the channels; else all."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what was prepared before.")]
_NOISE: dict[str, tuple[Any, Any]] = {
    "noise": (
        Annotated[
            list[str] | None, typer.Option(help=f"Noisy labels for the other patients: {', '.join(PRESETS)}.")
        ],
        None,
    ),
    "noise_k": (Annotated[tuple[int, int] | None, typer.Option(help="Its strength, LO HI.")], None),
    "noise_under": (Annotated[float | None, typer.Option(help="Share of eroded slices.")], None),
    "noise_share": (Annotated[float, typer.Option(help="Share of these patients that get noise.")], 1.0),
}
"""Annotation and default of each option of label noise, in the order of ``noise_options``."""


def with_noise(main: Callable[..., None]) -> Callable[..., None]:
    """Replace the argument ``noise`` of a command, a ``NoiseOptions``, by ``--noise`` and its like."""

    @wraps(main)
    def command(**values: Any) -> None:
        given = [values.pop(name, default) for name, (_, default) in _NOISE.items()]
        main(**values, noise=noise_options(*given))

    options = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
        for name, (annotation, default) in _NOISE.items()
    ]
    own = [[parameter] for parameter in signature(main).parameters.values() if parameter.name != "noise"]
    place = list(signature(main).parameters).index("noise")
    merged = sum([*own[:place], options, *own[place:]], start=list[Parameter]())
    command.__signature__ = signature(main).replace(parameters=merged)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in merged}
    return command
