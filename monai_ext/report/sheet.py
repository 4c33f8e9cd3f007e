"""One picture of several cases: a row a case, a column a label or a prediction, and a table below."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import Bbox
from tqdm import tqdm

from monai_ext.datalist.datalist import read_datalist
from monai_ext.drawing import COLORS, MARKS, draw, side_around, surroundings, write_on
from monai_ext.errors import InputError
from monai_ext.report.cases import Predict, Shown, Sources, cases_to_show, label_columns, show
from monai_ext.report.scores import CAPTION, Scores, mean_dice, scores_of, table_of

TABLE = Bbox.from_bounds(0, 0.3, 1, 0.7)
"""Place of the table in the lowest part of the picture; the caption is below."""
CLEARLY_THERE = 0.25
"""A class counts as shown in a slice with this share of the area that it has in its largest slice."""


def write_sheet(
    predictor: Predict,
    datalist: Path,
    out: Path,
    taught: int = 2,
    unseen: int = 4,
    modality: str | None = None,
    baseline: Predict | None = None,
    corrected: Path | None = None,
) -> Path:
    """Draw image, weak or noisy label, every prediction and the truth, one case a row, and a table of scores.

    The first rows are training cases with weak or noisy labels that name a ``reference``, the others are
    test cases (validation where there is no test list), which the network was not trained on. Slices are
    chosen so that every class appears, in a square of one size for all rows. The Dice written on a mask is
    that of the whole volume, the mean of its classes. A progress bar shows.

    Args:
        predictor: the trained bundle.
        datalist: the JSON file.
        out: the PNG file to write.
        taught: number of training cases.
        unseen: number of test or validation cases.
        modality: name of the modality to show, of images that have several; default the first.
        baseline: what to show as the result without the method, if anything.
        corrected: folder of corrected labels, shown beside noisy ones if it is there.

    Returns:
        ``out``.

    Raises:
        InputError: if ``out`` is no picture, there is no such modality, or no case to show.
    """
    suffixes = sorted(FigureCanvasBase.get_supported_filetypes())
    if out.suffix.lower().removeprefix(".") not in suffixes:
        raise InputError(
            f"Expected a picture to write, a file that ends in .{', .'.join(suffixes)}, got {out}."
        )
    content = read_datalist(datalist)
    chosen = cases_to_show(content, taught, unseen)
    names = content["modalities"]
    if modality is not None and not names:
        raise InputError(
            f"{datalist}: Expected no modality to choose, since it names none, got {modality!r}; "
            "leave out --modality."
        )
    if modality is not None and modality not in names:
        raise InputError(f"{datalist}: Expected a modality among {', '.join(names)}, got {modality!r}.")
    if not chosen:
        raise InputError(
            f"{datalist}: Expected a test or validation case, or a training case with a reference, got none."
        )
    channel, titles = names.index(modality) if modality else 0, label_columns(chosen, corrected)
    sources = Sources(datalist.parent, predictor, baseline, corrected, channel, titles)
    cases = []
    for section, item in tqdm(chosen, desc="segmenting", unit="case"):
        case = show(section, item, sources)
        cases.append((case, scores_of(case, content["labels"], content["unit"])))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(out, content, cases)
    return out


def draw_sheet(out: Path, content: Mapping[str, Any], cases: Sequence[tuple[Shown, Scores]]) -> None:
    """Save the sheet: slices and Dice of each case, names of classes and the table of scores below."""
    slices = slices_to_show([case for case, _ in cases])
    panels = [slice_of(case.volumes, z) for (case, _), z in zip(cases, slices, strict=True)]
    titles, rows = list(panels[0]), len(cases)
    table_height = 1.0 + 0.2 * len(content["labels"])
    figure = plt.figure(figsize=(2.2 * len(titles), 2.1 * rows + table_height + 1.0), layout="constrained")
    grid = figure.add_gridspec(rows + 1, len(titles), height_ratios=[2.1] * rows + [table_height])
    side = max(side_around(columns["truth"] > 0) for columns in panels)
    for n, ((case, scores), columns) in enumerate(zip(cases, panels, strict=True)):
        row = [figure.add_subplot(grid[n, column]) for column in range(len(titles))]
        draw_row(row, columns, case, scores, side)
        if n == 0:
            for axis, title in zip(row, titles, strict=True):
                axis.set_title(title, fontsize=10)
    draw_table(figure.add_subplot(grid[rows, :]), content, cases)
    figure.suptitle(f"{content['name']}\nDice is that of the whole volume", fontsize=9)
    draw_legend(figure, content["labels"], with_background=MARKS in titles, columns=len(titles))
    figure.savefig(out, dpi=110)
    plt.close(figure)


def draw_legend(figure: Figure, labels: Mapping[str, str], with_background: bool, columns: int) -> None:
    """The color of every class; of background only where somebody marked it."""
    patches = [Patch(color=COLORS(int(k) % COLORS.N), label=name) for k, name in labels.items()]
    patches[0].set_label(f"{patches[0].get_label()} (marks)")
    drawn = patches if with_background else patches[1:]
    figure.legend(handles=drawn, loc="outside lower center", ncols=columns, fontsize=8)


def draw_table(axis: Axes, content: Mapping[str, Any], cases: Sequence[tuple[Shown, Scores]]) -> None:
    """Mean scores of every class over the cases of the sheet, and below what they are."""
    heading, rows = table_of(cases, content["labels"], content["unit"])
    axis.axis("off")
    axis.text(0.5, 0, CAPTION, fontsize=7, ha="center", va="bottom", transform=axis.transAxes)
    table = axis.table(rows, colLabels=heading, cellLoc="center", edges="horizontal", bbox=TABLE)
    table.auto_set_font_size(False)
    table.set_fontsize(7)
    for (row, _), cell in table.get_celld().items():
        cell.set_height(0.4 if row == 0 else 0.2)


def slices_to_show(cases: Sequence[Shown]) -> list[int]:
    """For each case the slice of (H, W, D) to show, so that the rows of a section show every class.

    It has the most classes that no earlier row of the section shows, then the most classes, then the largest
    object.
    """
    chosen: list[int] = []
    shown: dict[str, set[int]] = {}
    for case in cases:
        truth, seen = case.volumes["truth"], shown.setdefault(case.section, set())
        areas = {int(k): (truth == k).sum(axis=(0, 1)) for k in np.unique(truth) if k > 0}
        there = [
            {k for k, area in areas.items() if area[z] >= max(1, CLEARLY_THERE * area.max())}
            for z in range(truth.shape[-1])
        ]
        size = (truth > 0).sum(axis=(0, 1))
        z = max(range(len(there)), key=lambda z: (len(there[z] - seen), len(there[z]), int(size[z]), -z))
        seen |= there[z]
        chosen.append(z)
    return chosen


def slice_of(volumes: Mapping[str, Any], z: int) -> dict[str, Any]:
    """One slice (H, W) of each column's volume."""
    return {title: None if volume is None else volume[..., z].copy() for title, volume in volumes.items()}


def draw_row(row: Sequence[Axes], columns: Mapping[str, Any], case: Shown, scores: Scores, side: int) -> None:
    """The slices of one case, by title, around its object, and the Dice of those that have one."""
    view = surroundings(columns["truth"] > 0, side)
    for axis, (title, part) in zip(row, columns.items(), strict=True):
        draw(axis, columns["image"][view], None if part is None else part[view], title)
        dice = mean_dice(scores.get(title, {}))
        words = [case.notes.get(title, ""), "" if math.isnan(dice) else f"Dice {dice:.2f}"]
        if text := ", ".join(filter(None, words)):
            write_on(axis, text)
    color = "tab:blue" if case.section == "training" else "black"
    row[0].set_ylabel(f"{case.section}\n{case.name}", fontsize=8, color=color)
