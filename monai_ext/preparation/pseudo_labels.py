"""What one bundle predicted, as the noisy labels that another one learns from."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ext.datalist.check_entries import parse_entries
from monai_ext.datalist.check_overlaps import case_problems
from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import items, read_datalist, write_datalist
from monai_ext.errors import InputError
from monai_ext.images.search import stem
from monai_ext.keys import CASE, DATALIST, IMAGE, LABEL, LABEL_SHA256, SUPERVISION, Supervision

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
        InputError: if a prediction is missing, nothing is to be replaced, ``out`` exists, or the checks find
            a problem; ``out`` is then removed again.
    """
    if out.exists():
        raise InputError(f"Expected a folder to make, got {out}, which exists; choose another.")
    content = read_datalist(datalist)
    listed = {section: [dict(i) for i in items(datalist, section)] for section in ("validation", "test")}
    training = [dict(item) for item in items(datalist, "training")]
    doubtful = [item for item in training if item[SUPERVISION] != Supervision.FULL.value]
    if not doubtful:
        raise InputError(f"{datalist}: Expected a training case without a full mask, got none.")
    if twice := case_problems(parse_entries({"training": training})[0]):
        raise InputError(f"{datalist}: {twice[0][1]}")
    found = find_predictions(doubtful, predictions)
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
            out / DATALIST,
            name=content["name"],
            labels=labels,
            unit=content["unit"],
            modalities=content["modalities"],
            description=made,
            training=training,
            **listed,
        )
        if problems := check_datalist(path, references=False, sections=["training"]):
            raise InputError("\n".join(problems))
    except BaseException:
        shutil.rmtree(out)
        raise
    kinds = [item[SUPERVISION] for item in training]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def find_predictions(items: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """The file of each item's prediction, by case; none is that of two cases.

    It has the name of the image, in as many of its folders as tell images apart, or that of the case.

    Raises:
        InputError: an item has no prediction, or two items have one.
    """
    names = [_image_name(item) for item in items]
    found: dict[str, Path] = {}
    for item, name in zip(items, names, strict=True):
        places = _places(item, names.count(name) == 1)
        files = [folder / f"{place}{suffix}" for place in places for suffix in SUFFIXES]
        prediction, case = next((file for file in files if file.is_file()), None), item[CASE]
        if prediction is None:
            raise InputError(
                f"training case {case}: Expected its prediction {files[0]}, found none; predict every "
                "training case without a full mask, as the README of the first bundle says."
            )
        if other := next((other for other, file in found.items() if file == prediction), None):
            raise InputError(
                f"training case {case}: Expected a prediction of its own, got {prediction}, which {other} has"
                "; name predictions by case."
            )
        found[case] = prediction
    return found


def _image_name(item: Mapping[str, Any]) -> str:
    """Name of the image; empty where there are several, none of which gives the prediction its name."""
    return stem(Path(item[IMAGE])) if isinstance(item[IMAGE], str) else ""


def _places(item: Mapping[str, Any], alone: bool) -> list[str]:
    """What the prediction may be called: ``alone`` if no other image has the name of this one."""
    if not (name := _image_name(item)):
        return [item[CASE]]
    parents = [parent.name for parent in Path(item[IMAGE]).parents]
    in_folders = ["/".join([*reversed(parents[:depth]), name]) for depth in (1, 2, 3)]
    return [name] * alone + in_folders + [item[CASE]]
