"""What one bundle predicted, as the noisy labels that another one learns from."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import items, read_datalist, write_datalist
from monai_ext.keys import CASE, IMAGE, LABEL, LABEL_SHA256, SUPERVISION, Supervision

SUFFIXES = ("_seg.nii.gz", "_seg.nii", ".nii.gz", ".nii")
"""Endings of a prediction's file, after the name of the image's or of the case."""


def write_pseudo_labels(datalist: Path, predictions: Path, out: Path) -> dict[str, int]:
    """Make a datalist whose training cases without a full mask have predictions as noisy labels.

    Training cases with full masks, validation and test stay as they are. Predictions are copied to
    ``out/labels``, so that a later inference does not change them; images stay where they are.

    Args:
        datalist: the JSON file of the first training.
        predictions: folder of what its bundle predicts on the training images, ``NAME_seg.nii.gz``.
        out: folder to make, for ``datalist.json`` and ``labels``.

    Returns:
        Number of training cases by kind of supervision in the new datalist.

    Raises:
        ValueError: if a prediction is missing, nothing is to be replaced, ``out`` exists, or the checks find
            a problem; ``out`` is then removed again.
    """
    if out.exists():
        raise ValueError(f"Expected a folder to make, got {out}, which exists; choose another.")
    content = read_datalist(datalist)
    listed = {section: [dict(i) for i in items(datalist, section)] for section in ("validation", "test")}
    training = [dict(item) for item in items(datalist, "training")]
    doubtful = [item for item in training if item[SUPERVISION] != Supervision.FULL.value]
    if not doubtful:
        raise ValueError(f"{datalist}: Expected a training case without a full mask, got none.")
    found = {item[CASE]: find_prediction(item, predictions) for item in doubtful}
    (out / "labels").mkdir(parents=True)
    try:
        for item in doubtful:
            label = out / "labels" / f"{item[CASE]}.nii{'.gz' if found[item[CASE]].suffix == '.gz' else ''}"
            shutil.copyfile(found[item[CASE]], label)
            item |= {LABEL: str(label.absolute()), SUPERVISION: Supervision.NOISY.value}
            item.pop(LABEL_SHA256, None)
        made = f"{content['description']}; labels of {len(doubtful)} cases: predictions of another network"
        labels = {int(index): name for index, name in content["labels"].items()}
        path = write_datalist(
            out / "datalist.json",
            name=content["name"],
            labels=labels,
            unit=content["unit"],
            modalities=content["modalities"],
            description=made,
            training=training,
            **listed,
        )
        if problems := check_datalist(path, references=False, sections=["training"]):
            raise ValueError("\n".join(problems))
    except BaseException:
        shutil.rmtree(out)
        raise
    kinds = [item[SUPERVISION] for item in training]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def find_prediction(item: Mapping[str, Any], folder: Path) -> Path:
    """The file of an item's prediction."""
    names = [item[CASE]]
    if isinstance(item[IMAGE], str):  # of several files none gives the prediction its name
        names.insert(0, Path(item[IMAGE]).name.removesuffix(".gz").removesuffix(".nii"))
    files = [folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    for file in files:
        if file.is_file():
            return file
    raise ValueError(
        f"training case {item[CASE]}: Expected its prediction {files[0]}, found none; predict every training "
        "case without a full mask, as the README of the first bundle says, and name the folder."
    )
