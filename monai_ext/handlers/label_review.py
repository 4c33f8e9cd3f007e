"""What a data manager wants to know after a training on noisy labels."""

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from monai.metrics import compute_dice
from monai.networks.utils import one_hot
from torch import Tensor

from monai_ext.handlers.label_correction import LabelCorrection
from monai_ext.handlers.memorization import MemorizationDetector
from monai_ext.keys import UNLABELED

logger = logging.getLogger(__name__)


class LabelReview:
    """Correct labels, and write what came of them: curves, corrected maps, changes, the most doubtful cases.

    Into ``output_dir``: ``curves.png`` and ``curves.json`` (training IoU, fits, epochs of detection);
    ``ranking.csv``, the noisy cases by how much the trained network disagrees with the labels they came with,
    the most doubtful first; ``changes.csv`` (case, epoch, old class, new class, voxels); and
    ``corrected/CASE.nii.gz`` on the grid of the label files, which themselves stay as they are.

    Event: EPOCH_COMPLETED (curves, when a class was detected in it), COMPLETED (everything). Reads:
    ``engine.state.epoch``. Writes: files, on the first process. State: none beside that of ``correction``.

    Args:
        correction: what corrects the labels; it is registered with the trainer before this.
        output_dir: folder for the files; those of an earlier run are replaced.
        labels: names of the classes by index; those without a name are called "class 1" and so on.
    """

    def __init__(self, correction: LabelCorrection, output_dir: str, labels: Mapping[str, str]) -> None:
        self.correction = correction
        self.journal = correction.journal
        self.folder = Path(output_dir)
        self.names = {k: labels.get(str(k), f"class {k}") for k in (0, *correction.detector.iou)}

    def attach(self, engine: Engine) -> None:
        """Register both with the trainer."""
        self.correction.attach(engine)
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.show_detection)
            engine.add_event_handler(Events.COMPLETED, self)

    def show_detection(self, engine: Engine) -> None:
        """Draw the curves if a class was detected in this epoch."""
        if engine.state.epoch in self.correction.detector.detected.values():
            self.write_curves()

    def __call__(self, engine: Engine) -> None:
        """Write everything."""
        self.write_curves()
        self.write_changes()
        self.journal.write_corrected(self.folder / "corrected")
        ranking = self.write_ranking()
        logger.info(
            f"wrote {self.folder}: corrected labels of {len(self.journal.changed_items())} of "
            f"{len(self.journal.items)} noisy cases; most doubtful: {', '.join(ranking[:5])}"
        )

    def write_curves(self) -> None:
        """The picture and the numbers of the learning curves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        detector = self.correction.detector
        content = {self.names[int(k)]: part for k, part in detector.summary().items()}
        (self.folder / "curves.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        draw_curves(detector, self.names, self.folder / "curves.png")

    def write_changes(self) -> None:
        """How many voxels of which case went from which class to which, and when."""
        rows: list[list[object]] = []
        for change in self.journal.changes:
            pairs = torch.stack((change.old, change.new)).unique(dim=1, return_counts=True)
            for (old, new), count in zip(pairs[0].T.tolist(), pairs[1].tolist(), strict=True):
                named = [self.names.get(k, "unlabeled") for k in (old, new)]
                rows.append([self.journal.name(change.item), change.epoch, *named, count])
        write_csv(self.folder / "changes.csv", ["case", "epoch", "from", "to", "voxels"], rows)

    def write_ranking(self) -> list[str]:
        """Write the noisy cases, the most doubtful first, and return their names."""
        rows: list[tuple[float, list[object]]] = []
        for item in self.journal.items:
            label, probs = self.journal.original(item), self.correction.probs(item).cpu()
            total, scores = doubt(probs, label), disagreement(probs, label)
            changed = int((label != self.journal.cache.volume(item)[1].cpu()).sum())
            rows.append(
                (total, [self.journal.name(item), f"{total:.4f}", *map("{:.4f}".format, scores), changed])
            )
        rows.sort(key=lambda row: -row[0])
        classes = [f"1 - Dice of {name}" for k, name in sorted(self.names.items()) if k]
        heading = ["rank", "case", "doubt", *classes, "corrected voxels"]
        write_csv(self.folder / "ranking.csv", heading, [[n, *row] for n, (_, row) in enumerate(rows, 1)])
        return [str(row[0]) for _, row in rows]


def doubt(probs: Tensor, label: Tensor) -> float:
    r"""How little a network believes a label, where either of them sees an organ.

    .. math:: d = 1 - \exp\Big( \frac{1}{|R|} \sum_{r \in R} \log p_{y(r)}(r) \Big)

    with :math:`p` the probabilities, :math:`y` the label and R the labeled voxels at which the label or the
    most probable class is foreground. So 1 - d is the probability of the label, as a geometric mean over
    these voxels: a label that is confidently contradicted counts for more than one about which the network
    wavers, and a few voxels of a class that is otherwise absent count as what they are, a few voxels.

    Args:
        probs: (K, *S), floored at 1e-7.
        label: (1, *S), classes or 255.

    Returns:
        A number between 0 and 1; 0 if R is empty.
    """
    seen = (label != UNLABELED) & ((label > 0) | (probs.argmax(dim=0, keepdim=True) > 0))
    named = probs.gather(0, label.masked_fill(~seen, 0).long())[seen]
    return 1 - math.exp(named.clamp_min(1e-7).log().sum() / max(len(named), 1))


def disagreement(probs: Tensor, label: Tensor) -> list[float]:
    """Disagreement between a network and a label, class by class: 1 - Dice over the labeled voxels.

    Args:
        probs: (K, *S).
        label: (1, *S), classes or 255.

    Returns:
        K - 1 numbers between 0 and 1 for the foreground; NaN for a class that is in neither.
    """
    known = label != UNLABELED
    maps = [
        one_hot((values * known)[None].long(), len(probs))[:, 1:]
        for values in (probs.argmax(dim=0, keepdim=True), label)
    ]
    dice = compute_dice(maps[0], maps[1], ignore_empty=False)[0]
    nowhere = ~(maps[0] + maps[1])[0].flatten(1).any(dim=1)
    return (1 - dice).masked_fill(nowhere, math.nan).tolist()


def write_csv(path: Path, heading: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)


def draw_curves(detector: MemorizationDetector, names: Mapping[int, str], path: Path) -> None:
    """Draw the training IoU of every class, the curve fitted to it, and the epoch of its detection."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for n, (k, curve) in enumerate(detector.curves().items()):
        epochs, color = range(1, len(detector.iou[k]) + 1), f"C{n}"
        axis.plot(epochs, detector.iou[k], ".", color=color, label=names[k])
        if curve is not None:
            axis.plot(epochs, [curve.value(t) for t in epochs], color=color)
        if k in detector.detected:
            axis.axvline(detector.detected[k], color=color, linestyle="--")
    axis.set(xlabel="epoch", ylabel="training IoU", ylim=(0, 1), title="dashed: memorization detected")
    axis.legend()
    figure.savefig(path, dpi=110)
