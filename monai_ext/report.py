"""Pictures of what a bundle does: image, labels and predictions side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from monai.bundle import ConfigParser
from monai.data import decollate_batch
from monai.transforms import LoadImage

from monai_ext.data.datalist import read_datalist
from monai_ext.keys import CASE, IMAGE, LABEL, PRED, REFERENCE, SUPERVISION, UNLABELED, Supervision

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLORS = ListedColormap(["#3b6fd4", "#e4572e", "#f3c13a", "#2fbf71", "#b04ae0", "#20c5d8"])
"""Of the classes by index; background, which is drawn only where somebody marked it, is blue."""


class Predictor:
    """A trained bundle, ready to segment items: the network and transforms of its validation.

    Args:
        bundle_root: folder of the bundle.
        dataset_dir: folder of ``datalist.json``.
        weights: trained weights; default ``models/model.pt`` of the bundle.
        overrides: values that replace those of ``configs/train.yaml``, by id.
    """

    def __init__(
        self,
        bundle_root: Path,
        dataset_dir: Path,
        weights: Path | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        parser = ConfigParser()
        parser.read_config(str(bundle_root / "configs" / "train.yaml"))
        parser.update({"bundle_root": str(bundle_root), "dataset_dir": str(dataset_dir), **(overrides or {})})
        self.device = parser.get_parsed_content("device")
        self.network = parser.get_parsed_content("network").eval()
        self.inferer = parser.get_parsed_content("validate::inferer")
        self.preprocessing = parser.get_parsed_content("validate::preprocessing")
        self.postprocessing = parser.get_parsed_content("validate::postprocessing")
        state = torch.load(
            weights or bundle_root / "models" / "model.pt", map_location="cpu", weights_only=True
        )
        self.network.load_state_dict(state)

    def __call__(self, item: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Predictions (*S) of an item in the space of its label map, by key; ``pred`` comes last."""
        data = self.preprocessing(dict(item))
        with torch.no_grad():
            pred = self.inferer(data[IMAGE][None].to(self.device), self.network)
        done = self.postprocessing({**data, PRED: decollate_batch(pred)[0].cpu()})
        made = sorted(done.keys() - data.keys(), key=lambda key: key == PRED)
        return {key: np.asarray(done[key][0]) for key in made}


def write_sheet(predictor: Predictor, datalist: Path, out: Path, taught: int = 2, unseen: int = 4) -> Path:
    """Draw image, weak label, every prediction and the truth, one case a row.

    The first rows are weakly labeled training cases that name a ``reference``, the others are test cases
    (validation where there is no test list), which the network never saw. The slice shown is the one with
    the largest object.

    Args:
        predictor: the trained bundle.
        datalist: the JSON file.
        out: the PNG file to write.
        taught: number of training cases.
        unseen: number of unseen cases.

    Returns:
        ``out``.
    """
    content, folder = read_datalist(datalist), datalist.parent
    weak = [i for i in content["training"] if i[SUPERVISION] == Supervision.PARTIAL.value and REFERENCE in i]
    new = content["test"] or content["validation"]
    chosen = [("weakly labeled training case", item) for item in spaced(weak, taught)]
    chosen += [("unseen case", item) for item in spaced(new, unseen)]
    rows = [(f"{item[CASE]}\n{kind}", *panels(predictor, item, folder)) for kind, item in chosen]
    titles = ["image", "weak label", *["student" if k == PRED else k for k in rows[0][2]], "truth"]
    figure, axes = plt.subplots(
        len(rows),
        len(titles),
        figsize=(2.2 * len(titles), 2.3 * len(rows) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for row, (name, (image, given, truth), predictions) in zip(axes, rows, strict=True):
        for axis, title, label in zip(row, titles, [None, given, *predictions.values(), truth], strict=True):
            draw(axis, image, label, hide_background=title != "weak label")
            axis.set_title(title if row is axes[0] else "", fontsize=10)
        if given is None:
            row[1].text(0.5, 0.5, "none", color="white", ha="center", transform=row[1].transAxes)
        row[0].set_ylabel(name, fontsize=8)
    figure.suptitle(content["name"], fontsize=9)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    plt.close(figure)
    return out


def spaced(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly spaced over the list."""
    step = max(1, len(items) // max(count, 1))
    return list(items[::step][:count])


def panels(
    predictor: Predictor, item: Mapping[str, Any], folder: Path
) -> tuple[tuple[np.ndarray, np.ndarray | None, np.ndarray], dict[str, np.ndarray]]:
    """The slice of (image, weak label or None, truth) with the largest object, and of every prediction."""
    paths = {key: str(folder / item[key]) for key in (IMAGE, LABEL)}
    load = LoadImage(image_only=True)
    image = np.asarray(load(paths[IMAGE]))
    label = np.asarray(load(paths[LABEL])).astype(int)
    truth = np.asarray(load(str(folder / item[REFERENCE]))).astype(int) if REFERENCE in item else label
    z = int(np.argmax((truth > 0).sum(axis=(0, 1))))
    predictions = {key: volume[..., z] for key, volume in predictor(paths).items()}
    return (image[..., z], label[..., z] if REFERENCE in item else None, truth[..., z]), predictions


def draw(axis: Axes, image: np.ndarray, label: np.ndarray | None, hide_background: bool) -> None:
    """An image (H, W) in gray, with a label map (H, W) in transparent colors."""
    axis.imshow(image.T, cmap="gray", vmax=np.percentile(image, 99.5))
    if label is not None:
        hidden = (label == UNLABELED) | ((label == 0) & hide_background)
        axis.imshow(
            np.ma.masked_array(label, hidden).T % COLORS.N,
            cmap=COLORS,
            vmin=0,
            vmax=COLORS.N - 1,
            alpha=0.55 if hide_background else 1.0,
            interpolation="nearest",
        )
    axis.set_xticks([])
    axis.set_yticks([])
