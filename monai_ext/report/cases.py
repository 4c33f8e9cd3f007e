"""Which cases a sheet shows, and the volumes of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_ext.drawing import MARKS
from monai_ext.images.files import read_volume
from monai_ext.images.problems import rounded_label
from monai_ext.images.transforms import slice_axis
from monai_ext.keys import CASE, IMAGE, LABEL, PATIENT, PRED, REFERENCE, SUPERVISION, Supervision

NOISY = "noisy label"
CORRECTED = "corrected label"
BASELINE = "without the method"
CORRECTED_LABELS = Path("eval", "label_review", "corrected")
"""Where a label review leaves corrected labels, in the folder of a bundle."""
LABEL_COLUMNS = {Supervision.PARTIAL.value: MARKS, Supervision.NOISY.value: NOISY}
"""Title of the column that shows what a training case was learned from, by its kind of supervision."""

Predict = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]
"""Predictions of an item by key, such as a ``Predictor``."""


@dataclass(frozen=True)
class Sources:
    """Where the columns of a sheet come from.

    Attributes:
        folder: folder of the datalist.
        predictor: the trained bundle.
        baseline: the same network with the weights of another training; None for no such column.
        corrected: folder of corrected labels ``CASE.nii.gz``, as a label review leaves it; None for none.
        channel: position of the modality to show.
        labels: titles of the columns of labels.
    """

    folder: Path
    predictor: Predict
    baseline: Predict | None = None
    corrected: Path | None = None
    channel: int = 0
    labels: Sequence[str] = ()


@dataclass(frozen=True)
class Shown:
    """A case of the sheet.

    Attributes:
        section: the list that it is from.
        name: of the case.
        volumes: image, labels, predictions and truth (H, W, D) by the titles of their columns; the last axis
            is the one across which slices are cut.
        spacing: distance between voxels along each axis, in mm.
        notes: words to write on a column, by title.
    """

    section: str
    name: str
    volumes: dict[str, Any]
    spacing: tuple[float, ...]
    notes: dict[str, str] = field(default_factory=dict)


def cases_to_show(content: Mapping[str, Any], taught: int, unseen: int) -> list[tuple[str, dict[str, Any]]]:
    """Training cases with weak or noisy labels and a reference, then test or validation cases, by section."""
    kinds = {*LABEL_COLUMNS, Supervision.TAGS.value}
    weak = [item for item in content["training"] if item[SUPERVISION] in kinds and REFERENCE in item]
    section = "test" if content["test"] else "validation"
    chosen = [("training", item) for item in different(weak, taught)]
    return chosen + [(section, item) for item in different(content[section], unseen)]


def different(items: Sequence[Mapping[str, Any]], count: int) -> list[Any]:
    """At most ``count`` items, of as many patients as there are, evenly spaced over the list; none twice."""
    images = list({str(item[IMAGE]): item for item in items}.values())
    patients = list({item[PATIENT]: item for item in reversed(images)}.values())[::-1]
    return spaced(patients if len(patients) >= count else images, count)


def spaced(items: Sequence[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly spaced over the list."""
    step = max(1, len(items) // max(count, 1))
    return list(items[::step][:count])


def label_columns(chosen: Sequence[tuple[str, Mapping[str, Any]]], corrected: Path | None) -> list[str]:
    """Titles of the columns of labels that some training case of the sheet has."""
    kinds = {item[SUPERVISION] for where, item in chosen if where == "training"}
    titles = [title for kind, title in LABEL_COLUMNS.items() if kind in kinds]
    return titles + ([CORRECTED] if NOISY in titles and corrected is not None and corrected.is_dir() else [])


def show(section: str, item: Mapping[str, Any], sources: Sources) -> Shown:
    """Read and segment a case; columns of labels that it does not have are None."""
    files = item[IMAGE] if isinstance(item[IMAGE], list) else [item[IMAGE]]
    paths = [sources.folder / file for file in files]
    image, affine = read_channel(paths, sources.channel)
    labels, notes = labels_of(item, sources)
    given: dict[str, Any] = {IMAGE: [str(path) for path in paths] if len(paths) > 1 else str(paths[0])}
    if LABEL in item:
        given[LABEL] = str(sources.folder / item[LABEL])
    volumes: dict[str, Any] = {"image": image, **labels, **predictions_of(given, sources)}
    volumes["truth"] = read_mask(sources.folder / item[REFERENCE if REFERENCE in item else LABEL])
    across = slice_axis(affine, image.shape)
    turned = {title: None if v is None else np.moveaxis(v, across, -1) for title, v in volumes.items()}
    spacing = np.delete(np.linalg.norm(affine[:3, :3], axis=0), across).tolist()
    spacing.append(float(np.linalg.norm(affine[:3, across])))
    return Shown(section, item[CASE], turned, tuple(spacing), notes)


def labels_of(item: Mapping[str, Any], sources: Sources) -> tuple[dict[str, Any], dict[str, str]]:
    """The columns of labels and what is written on them; None but for those of the item's own kind."""
    columns: dict[str, Any] = dict.fromkeys(sources.labels)
    own = LABEL_COLUMNS.get(item[SUPERVISION])
    if own not in columns:
        return columns, {}
    columns[own] = read_mask(sources.folder / item[LABEL])
    if own != NOISY or CORRECTED not in columns or sources.corrected is None:
        return columns, {}
    file = sources.corrected / f"{item[CASE]}.nii.gz"
    columns[CORRECTED] = read_mask(file) if file.is_file() else columns[own]
    return columns, {} if file.is_file() else {CORRECTED: "unchanged"}


def predictions_of(given: Mapping[str, Any], sources: Sources) -> dict[str, np.ndarray]:
    """The columns of predictions: without the method, if asked for, then those of the bundle."""
    baseline = {} if sources.baseline is None else {BASELINE: sources.baseline(given)[PRED]}
    predictions = sources.predictor(given)
    final = "student" if "teacher" in predictions else "prediction"
    return baseline | {final if key == PRED else key: volume for key, volume in predictions.items()}


def read_channel(files: Sequence[Path], channel: int) -> tuple[np.ndarray, np.ndarray]:
    """One channel (H, W, D) of the files of a case, and its affine."""
    if len(files) > 1:
        files, channel = [files[channel]], 0
    volume = read_volume(files[0])
    return volume.array if volume.array.ndim == 3 else volume.array[..., channel], volume.affine


def read_mask(file: Path) -> np.ndarray:
    """A label map (H, W, D) of class numbers."""
    return rounded_label(read_volume(file).array).astype(int)
