"""How good the labels of a training set are themselves, and whether a ranking finds the wrong ones."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from torchmetrics.functional.classification import binary_average_precision

from monai_ext.datalist.datalist import read_datalist
from monai_ext.handlers.evaluation import score_volume, summarize, without_nan
from monai_ext.images.files import read_volume
from monai_ext.keys import CASE, LABEL, REFERENCE


def score_labels(data: Path) -> dict[str, Any]:
    """Score the labels of the training set against the clean masks, in the form of a bundle's summary."""
    content = read_datalist(data / "datalist.json")
    names = [name for index, name in content["labels"].items() if int(index)]
    cases = []
    for item in content["training"]:
        volumes = [read_volume(data / item[key]) for key in (LABEL, REFERENCE)]
        spacing = [1.0, 1.0, 1.0] if content["unit"] == "voxel" else voxel_sizes(volumes[1].affine)
        noisy, clean = (torch.as_tensor(volume.array.astype("int64"))[None] for volume in volumes)
        scores = score_volume(noisy, clean, len(names) + 1, spacing)
        cases.append({"case": item[CASE], "classes": dict(zip(names, scores, strict=True))})
    return dict(without_nan({"unit": content["unit"], **summarize(cases, names), "cases": cases}))


def voxel_sizes(affine: Any) -> list[float]:
    """Distance between voxels along each axis."""
    return [float(size) for size in (affine[:3, :3] ** 2).sum(axis=0) ** 0.5]


def ranking_result(ranking: Path, data: Path) -> dict[str, Any]:
    """Average precision of the ranked list: a case is wrong if its label differs from the clean mask.

    Returns:
        ``cases``, ``wrong`` and ``average_precision``, which is None if all or none are wrong. Cases whose
        clean mask the datalist does not name are left out.
    """
    content = json.loads((data / "datalist.json").read_text(encoding="utf-8"))
    wrong = {
        item[CASE]: (read_volume(data / item[LABEL]).array != read_volume(data / item[REFERENCE]).array).any()
        for item in content["training"]
        if REFERENCE in item
    }
    with ranking.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] in wrong]
    doubts = torch.tensor([float(row["doubt"]) for row in rows])
    truths = torch.tensor([bool(wrong[row["case"]]) for row in rows])
    mixed = 0 < int(truths.sum()) < len(rows)
    precision = float(binary_average_precision(doubts, truths.long())) if mixed else None
    return {"cases": len(rows), "wrong": int(truths.sum()), "average_precision": precision}
