"""Command line: `python -m monai_ext COMMAND`; without a command it lists them all."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from monai_ext import __version__
from monai_ext.datalist.checks import accept_label_changes, check_datalist
from monai_ext.datalist.datalist import SECTIONS, items
from monai_ext.errors import InputError
from monai_ext.failures import tell
from monai_ext.keys import DATALIST, PATIENT, SUPERVISION
from monai_ext.logs import start_logging
from monai_ext.preparation.pseudo_labels import write_pseudo_labels
from monai_ext.resources import prepare_script

EXAMPLES = {
    "prepare": "prepare acdc --raw ACDC/training --out data",
    "check": "check data/datalist.json",
    "pseudo-labels": "pseudo-labels data --predictions eval/predictions --out second_stage",
    "report": "report bundles/lv_mixed_supervision_segmentation --dataset-dir data --out sheet.png",
    "demo": "demo --bundle lv_mixed_supervision_segmentation",
}
"""One for each command, in the order in which they are listed."""
PROGRAM = "python -m monai_ext"

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    epilog="\b\nExamples:\n" + "\n".join(f"  {PROGRAM} {example}" for example in EXAMPLES.values()),
)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every failure.")] = False,
) -> None:
    """Learn to segment from the labels that people really have."""
    if version:
        typer.echo(f"monai_ext {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    short_help="Make a datalist of a data set.",
)
def prepare(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="Name of a folder in datasets/, such as acdc.")],
) -> None:
    """Make a datalist of a data set; what follows its name goes to its script, --help too."""
    script = prepare_script(dataset)
    done = subprocess.run([sys.executable, script, *context.args])
    raise typer.Exit(done.returncode)


@app.command(short_help="Find what is wrong with a datalist.")
def check(
    datalist: Annotated[
        Path,
        typer.Argument(
            help="JSON file with the lists of training, validation and test, or the folder of datalist.json."
        ),
    ],
    references: Annotated[
        bool,
        typer.Option(help="Compare weak labels and tags with the full masks that items name as reference."),
    ] = True,
    section: Annotated[
        list[str] | None, typer.Option(help="Check this section only; may be given several times.")
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes",
            help="If nothing else is wrong, let the datalist remember label files that were changed.",
        ),
    ] = False,
) -> None:
    """Find what is wrong with a datalist and its files; exit code 1 if anything is."""
    datalist = datalist / DATALIST if datalist.is_dir() else datalist
    if accept_changes:
        problems = _accept(datalist, references, section or None)
    else:
        problems = check_datalist(datalist, references=references, sections=section or None)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(code=1)
    Console().print(_summary(datalist, section or SECTIONS))
    typer.echo("no problem found")


@app.command(short_help="Make noisy labels of predictions.")
def pseudo_labels(
    datalist: Annotated[Path, typer.Argument(help="The datalist of the first training, or its folder.")],
    predictions: Annotated[
        Path, typer.Option(help="Folder of what its bundle predicts on the training images.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make: datalist.json and labels.")],
) -> None:
    """Let predictions of one bundle be the noisy labels from which another one learns."""
    datalist = datalist / DATALIST if datalist.is_dir() else datalist
    counts = write_pseudo_labels(datalist, predictions, out)
    cases = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    typer.echo(f"wrote {out / DATALIST}: training cases {cases}")


@app.command(short_help="Draw cases, labels and predictions.")
def report(
    bundle: Annotated[
        Path, typer.Argument(help="Folder of a bundle with trained weights in models/model.pt.")
    ],
    dataset_dir: Annotated[Path, typer.Option(help="Folder of datalist.json.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("sheet.png"),
    taught: Annotated[int, typer.Option(help="Training cases with weak or noisy labels to show.", min=0)] = 2,
    unseen: Annotated[int, typer.Option(help="Test (or else validation) cases to show.", min=1)] = 4,
    override: Annotated[
        list[str] | None, typer.Option(help="ID=VALUE instead of the one in train.yaml, e.g. num_classes=4.")
    ] = None,
    mix_in: Annotated[
        list[str] | None, typer.Option(help="Configuration used in training after train.yaml, e.g. ct.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="Modality to show, where images have several; else the first.")
    ] = None,
    baseline_weights: Annotated[
        Path | None,
        typer.Option(help="Weights of a training without the method, shown beside those of the bundle."),
    ] = None,
) -> None:
    """Draw image, labels, predictions and truth of some cases side by side, with a table of scores."""
    from monai_ext.report import CORRECTED_LABELS, Predictor, write_sheet

    datalist, weights = dataset_dir / DATALIST, bundle / "models" / "model.pt"
    for file in filter(None, (datalist, weights, baseline_weights)):
        if not file.is_file():
            raise InputError(f"Expected {file}, found none; prepare the data and train the bundle first.")
    given = dict(word.split("=", 1) for word in override or [] if "=" in word)
    if len(given) != len(override or []):
        raise InputError(f"Expected --override ID=VALUE, got {override}.")
    overrides = {key: yaml.safe_load(value) for key, value in given.items()}
    predictor = Predictor(bundle, dataset_dir, None, overrides, mix_in or ())
    baseline = None
    if baseline_weights is not None:
        baseline = Predictor(bundle, dataset_dir, baseline_weights, overrides, mix_in or ())
    try:
        corrected = bundle / CORRECTED_LABELS
        typer.echo(write_sheet(predictor, datalist, out, taught, unseen, modality, baseline, corrected))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{datalist}: {error}") from error


@app.command(short_help="Try a bundle from data to picture.")
def demo(
    bundle: Annotated[
        str, typer.Option(help="Name of a folder in bundles/.")
    ] = "lv_mixed_supervision_segmentation",
    data: Annotated[
        Path | None, typer.Option(help="Raw data, e.g. your ACDC download; phantoms if left out.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("demo_output"),
) -> None:
    """Prepare data, train, evaluate, export, and draw what came out."""
    from monai_ext.demo import run_demo

    run_demo(bundle, data, out.resolve())


def _accept(datalist: Path, references: bool, sections: list[str] | None) -> list[str]:
    """Accept changed labels and say how many, or return the problems."""
    if not references:
        raise InputError(
            "Expected --accept-changes with references, got --no-references; leave one of them out."
        )
    try:
        problems, count = accept_label_changes(datalist, sections)
    except OSError as error:
        raise InputError(
            f"{datalist}: Expected a file that can be replaced, got {error}; nothing was accepted."
        ) from error
    if problems:
        return [*problems, f"{datalist}: no change was accepted"]
    typer.echo(f"{count} changed label{'s' * (count != 1)} accepted")
    return []


def _summary(path: Path, sections: list[str] | tuple[str, ...]) -> Table:
    """Cases and patients by section and kind of supervision."""
    table = Table("section", "supervision", "cases", "patients")
    for section in sections:
        listed = items(path, section)
        kinds = [item[SUPERVISION] for item in listed]
        for kind, cases in sorted(Counter(kinds).items()):
            patients = {i[PATIENT] for i, k in zip(listed, kinds, strict=True) if k == kind}
            table.add_row(section, kind, str(cases), str(len(patients)))
    return table


def run() -> None:
    """The program: a failure that the user can mend is one line, and the exit code 1."""
    sys.excepthook = tell
    start_logging()
    try:
        app(prog_name=PROGRAM)
    except Exception as error:  # before Typer's own hook draws it
        tell(type(error), error, error.__traceback__)


if __name__ == "__main__":
    run()
