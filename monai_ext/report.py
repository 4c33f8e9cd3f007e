"""Pictures of what a bundle does: image, labels and predictions side by side."""

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from monai.bundle import ConfigParser
from monai.data import decollate_batch
from monai.metrics import compute_dice
from monai.transforms import LoadImage
from tqdm import tqdm

from monai_ext.bundle import ignore_warnings_inside_monai
from monai_ext.bundle.settings import stop_if_unfit
from monai_ext.datalist.datalist import read_datalist
from monai_ext.keys import (
    CAM_PREFIX,
    CASE,
    IMAGE,
    LABEL,
    MAP_SUFFIX,
    PRED,
    REFERENCE,
    SUPERVISION,
    UNLABELED,
    Supervision,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLORS = ListedColormap(["#3b6fd4", "#e4572e", "#f3c13a", "#2fbf71", "#b04ae0", "#20c5d8"])
"""Of the classes by index; background, which is drawn only where somebody marked it, is blue."""

MARKS = "weak label"
MAP = "map"
"""Column of a map in [0, 1] instead of classes."""
LABEL_COLUMNS = {Supervision.PARTIAL.value: MARKS, Supervision.NOISY.value: "noisy label"}
"""Title of the column that shows what a training case was learned from, by its kind of supervision."""


class Predictor:
    """A trained bundle, ready to segment items with the network and transforms of its evaluation.

    Args:
        bundle_root: folder of the bundle.
        dataset_dir: folder of ``datalist.json``.
        weights: trained weights; default those that the evaluation takes, ``models/model.pt``.
        overrides: values that replace those of the configuration, by id.
        mix_ins: names of configurations that come after ``train.yaml``.
    """

    def __init__(
        self,
        bundle_root: Path,
        dataset_dir: Path,
        weights: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        mix_ins: Sequence[str] = (),
    ) -> None:
        ignore_warnings_inside_monai()
        parser = ConfigParser()
        names = ("train", *mix_ins, "evaluate")
        parser.read_config([str(bundle_root / "configs" / f"{name}.yaml") for name in names])
        parser.update({"bundle_root": str(bundle_root), "dataset_dir": str(dataset_dir), **(overrides or {})})
        if "settings" in parser:
            stop_if_unfit(parser.get_parsed_content("settings"))
        self.device = parser.get_parsed_content("device")
        self.network = parser.get_parsed_content("network").eval()
        self.inferer = parser.get_parsed_content("validate::inferer")
        self.preprocessing = parser.get_parsed_content("validate::preprocessing")
        self.postprocessing = parser.get_parsed_content("validate::postprocessing")
        path = weights or parser.get_parsed_content("weights")
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.network.load_state_dict(state)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predictions (*S) of an item in the space of its label map, by key; ``pred`` comes last.

        A map that a mask was made from is among them as ``map``; those of single modalities are left out.
        """
        data = self.preprocessing(dict(item))
        with torch.no_grad():
            pred = self.inferer(data[IMAGE][None].to(self.device), self.network)
        done = self.postprocessing({**data, PRED: decollate_batch(pred)[0].cpu()})
        if (cam := done.pop(PRED + MAP_SUFFIX, None)) is not None:
            done[MAP] = cam
        made = sorted(done.keys() - data.keys(), key=lambda key: key == PRED)
        return {key: np.asarray(done[key][0]) for key in made if not key.startswith(CAM_PREFIX)}


def write_sheet(
    predictor: Predictor,
    datalist: Path,
    out: Path,
    taught: int = 2,
    unseen: int = 4,
    modality: str | None = None,
) -> Path:
    """Draw image, weak or noisy label, every prediction and the truth, one case a row.

    The first rows are training cases with weak or noisy labels that name a ``reference``, the others are
    test cases (validation where there is no test list), which the network was not trained on. The slice
    shown is the one with the largest object, in a square of one size for all rows. The Dice written on a
    prediction is that of the whole volume, the mean of its classes. A progress bar shows.

    Args:
        predictor: the trained bundle.
        datalist: the JSON file.
        out: the PNG file to write.
        taught: number of training cases.
        unseen: number of test or validation cases.
        modality: name of the modality to show, of images that have several; default the first.

    Returns:
        ``out``.

    Raises:
        ValueError: if there is no such modality.
    """
    content, folder = read_datalist(datalist), datalist.parent
    chosen = cases_to_show(content, taught, unseen)
    kinds = {item[SUPERVISION] for where, item in chosen if where == "training"}
    labels = [title for kind, title in LABEL_COLUMNS.items() if kind in kinds]
    names = content["modalities"]
    if modality is not None and modality not in names:
        raise ValueError(f"Expected a modality among {', '.join(names) or 'none'}, got {modality!r}.")
    channel = names.index(modality) if modality else 0
    panels, scores = [], []
    for _, item in tqdm(chosen, desc="segmenting", unit="case"):
        volumes = volumes_of(predictor, item, folder, labels, channel)
        panels.append(slices_of(volumes))
        scores.append(scores_of(volumes, [int(k) for k in content["labels"] if int(k)]))
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(out, content, chosen, panels, scores)
    return out


def draw_sheet(
    out: Path,
    content: Mapping[str, Any],
    chosen: Sequence[tuple[str, Mapping[str, Any]]],
    panels: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, float]],
) -> None:
    """Save the sheet of the chosen cases: slices and Dice of each by column, names of classes below."""
    side = max(side_around(columns["truth"] > 0) for columns in panels)
    titles = list(panels[0])
    figure, axes = plt.subplots(
        len(panels),
        len(titles),
        figsize=(2.2 * len(titles), 2.1 * len(panels) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for row, (where, item), columns, dice in zip(axes, chosen, panels, scores, strict=True):
        draw_row(row, columns, dice, side)
        color = "tab:blue" if where == "training" else "black"
        row[0].set_ylabel(f"{where}\n{item[CASE]}", fontsize=8, color=color)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    figure.suptitle(f"{content['name']}\nDice is that of the whole volume", fontsize=9)
    patches = [Patch(color=COLORS(int(k) % COLORS.N), label=name) for k, name in content["labels"].items()]
    drawn = patches if MARKS in titles else patches[1:]
    figure.legend(handles=drawn, loc="outside lower center", ncols=len(titles), fontsize=8)
    figure.savefig(out, dpi=110)
    plt.close(figure)


def cases_to_show(content: Mapping[str, Any], taught: int, unseen: int) -> list[tuple[str, dict[str, Any]]]:
    """Training cases with weak or noisy labels and a reference, then test or validation cases, by section."""
    kinds = {*LABEL_COLUMNS, Supervision.TAGS.value}
    weak = [item for item in content["training"] if item[SUPERVISION] in kinds and REFERENCE in item]
    section = "test" if content["test"] else "validation"
    chosen = [("training", item) for item in spaced(weak, taught)]
    return chosen + [(section, item) for item in spaced(content[section], unseen)]


def spaced(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly spaced over the list."""
    step = max(1, len(items) // max(count, 1))
    return list(items[::step][:count])


def volumes_of(
    predictor: Predictor, item: Mapping[str, Any], folder: Path, labels: Sequence[str], channel: int = 0
) -> dict[str, Any]:
    """Image, labels, predictions and truth (H, W, D) of a case, each by its column's title.

    The columns ``labels`` are None but for that of the item's own kind of supervision.
    """
    files = item[IMAGE] if isinstance(item[IMAGE], list) else [item[IMAGE]]
    paths: dict[str, Any] = {key: str(folder / item[key]) for key in (LABEL, REFERENCE) if key in item}
    paths[IMAGE] = [str(folder / file) for file in files] if len(files) > 1 else str(folder / files[0])
    load = LoadImage(image_only=True, ensure_channel_first=True)
    image = np.asarray(load(paths[IMAGE])[channel])
    masks = {key: np.asarray(load(paths[key])[0]).astype(int) for key in paths if key != IMAGE}
    truth = masks[REFERENCE if REFERENCE in masks else LABEL]
    volumes: dict[str, Any] = {"image": image, **dict.fromkeys(labels)}
    if (own := LABEL_COLUMNS.get(item[SUPERVISION], "")) in labels:
        volumes[own] = masks[LABEL]
    predictions = predictor({key: paths[key] for key in (IMAGE, LABEL) if key in paths})
    final = "student" if "teacher" in predictions else "prediction"
    volumes |= {final if key == PRED else key: volume for key, volume in predictions.items()}
    volumes["truth"] = truth
    return volumes


def slices_of(volumes: Mapping[str, Any]) -> dict[str, Any]:
    """The slices (H, W) with the largest object of a case, by the titles of their columns."""
    z = int(np.argmax((volumes["truth"] > 0).sum(axis=(0, 1))))
    return {title: None if volume is None else volume[..., z].copy() for title, volume in volumes.items()}


def scores_of(volumes: Mapping[str, Any], classes: Collection[int]) -> dict[str, float]:
    """Mean Dice of the classes of every predicted mask, by its title; NaN where neither mask has a class."""
    given = {"image", "truth", MAP, *LABEL_COLUMNS.values()}
    return {
        title: mean_dice(volume, volumes["truth"], classes)
        for title, volume in volumes.items()
        if title not in given
    }


def mean_dice(pred: np.ndarray, truth: np.ndarray, classes: Collection[int]) -> float:
    """Mean Dice of those classes that one of two label maps (*S) has; NaN if there is none."""
    found, true = (torch.as_tensor(np.stack([m == k for k in classes]))[None] for m in (pred, truth))
    there = (found | true).flatten(2).any(dim=2)
    dice = compute_dice(found, true, ignore_empty=False)
    return float(dice[there].mean()) if there.any() else math.nan


def side_around(mask: np.ndarray, margin: float = 1.2) -> int:
    """Side of a square around an object (H, W) that exceeds it by ``margin`` times its size on every side.

    At most the longer side of the mask, which is also that of an empty one.
    """
    if not mask.any():
        return max(mask.shape)
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
    return min(math.ceil((1 + 2 * margin) * (high - low + 1).max()), max(mask.shape))


def surroundings(mask: np.ndarray, side: int) -> tuple[slice, slice]:
    """A square around an object (H, W), or else around the center, moved into the mask or cut off by it."""
    where = np.argwhere(mask if mask.any() else np.ones_like(mask))
    center = (where.min(axis=0) + where.max(axis=0) + 1) / 2
    starts = [
        int(np.clip(c - side / 2, 0, max(n - side, 0))) for c, n in zip(center, mask.shape, strict=True)
    ]
    return slice(starts[0], starts[0] + side), slice(starts[1], starts[1] + side)


def draw_row(row: Sequence[Axes], columns: Mapping[str, Any], dice: Mapping[str, float], side: int) -> None:
    """The slices of one case, by title, around its object, and the Dice of those that have one."""
    view = surroundings(columns["truth"] > 0, side)
    for axis, (title, part) in zip(row, columns.items(), strict=True):
        draw(axis, columns["image"][view], None if part is None else part[view], title)
        if not math.isnan(dice.get(title, math.nan)):
            write_on(axis, f"Dice {dice[title]:.2f}")


def write_on(axis: Axes, text: str) -> None:
    """A few words at the lower edge of a picture."""
    black = {"facecolor": "black", "linewidth": 0, "pad": 2}
    axis.text(0.5, 0.04, text, color="white", ha="center", transform=axis.transAxes, bbox=black)


def draw(axis: Axes, image: np.ndarray, label: np.ndarray | None, title: str) -> None:
    """An image (H, W) in gray, and a column's label map (H, W) in colors: marks as dots, others filled.

    The picture is square, black beside an image that is not.
    """
    axis.imshow(image.T, cmap="gray", vmax=np.percentile(image, 99.5))
    (width, height), half = image.shape, max(image.shape) / 2
    axis.set_xlim((width - 1) / 2 - half, (width - 1) / 2 + half)
    axis.set_ylim((height - 1) / 2 + half, (height - 1) / 2 - half)
    axis.set_facecolor("black")
    axis.set_xticks([])
    axis.set_yticks([])
    if title == "image":
        return
    if label is None:
        write_on(axis, "none")
    elif title == MAP:
        axis.imshow(label.T, cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    elif title == MARKS:
        x, y = np.nonzero(label != UNLABELED)
        axis.scatter(x, y, c=label[x, y] % COLORS.N, cmap=COLORS, vmin=0, vmax=COLORS.N - 1, s=6)
    else:
        hidden = (label == UNLABELED) | (label == 0)
        shown = np.ma.masked_array(label, hidden).T % COLORS.N
        axis.imshow(shown, cmap=COLORS, vmin=0, vmax=COLORS.N - 1, alpha=0.5, interpolation="nearest")
