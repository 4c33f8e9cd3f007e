import csv
import logging

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_ext.handlers.progress import InferenceSummary, class_names


def infer(batches, folder="there", runs=1, **options):
    """Runs an engine that gives, as a decollated inference, one output an image."""
    engine = Engine(lambda engine, batch: [{"pred": item.get("pred", "mask")} for item in batch])
    InferenceSummary(str(folder), **options).attach(engine)
    for _ in range(runs):
        engine.run(batches)


def mask(folder, name, spacing=(1, 1, 8), **boxes):
    """An item as the evaluator holds it: a case, and its mask as it was saved."""
    array = torch.zeros(1, 6, 6, 2)
    for value, part in enumerate(boxes.values(), start=1):
        array[(0, *part)] = value
    file = folder / f"{name}_seg.nii.gz"
    pred = MetaTensor(array, affine=np.diag([*spacing, 1.0]), meta={"saved_to": str(file)})
    return {"case": name, "file": f"in/{name}.nii", "unit": "mm", "pred": pred}


INSIDE = (slice(2, 4), slice(2, 4), slice(0, 2))
LABELS = ["background", "ventricle"]


def test_the_last_line_says_how_many_segmentations_are_where(caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    infer([[{}, {}], [{}]])
    assert [record.message for record in caplog.records] == ["wrote 3 segmentations to there"]


def test_a_second_run_counts_from_the_start(caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    infer([[{}]], runs=2)
    assert [record.message for record in caplog.records] == ["wrote 1 segmentation to there"] * 2


def test_a_bar_counts_the_batches_from_zero(capsys):
    infer([[{}], [{}], [{}], [{}]])
    shown = capsys.readouterr().err
    assert shown.index("| 0/4") < shown.index("| 4/4") and shown.strip().startswith("segmenting")


def test_volumes_lie_beside_the_masks(tmp_path, caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    known, unknown = mask(tmp_path, "p1/a", (1, 1, 8), v=INSIDE), mask(tmp_path, "b", v=INSIDE)
    infer([[known], [{**unknown, "unit": "voxel"}]], tmp_path, labels=LABELS)
    with (tmp_path / "volumes.csv").open() as file:
        found = list(csv.reader(file))
    assert found == [
        ["case", "image", "mask", "ventricle [mL]", "ventricle [voxels]"],
        ["b", "in/b.nii", "b_seg.nii.gz", "", "8"],
        ["p1/a", "in/p1/a.nii", "p1/a_seg.nii.gz", "0.064", "8"],
    ]
    assert caplog.messages == [f"wrote 2 segmentations to {tmp_path} and their volumes to volumes.csv"]


def test_what_is_unusual_has_a_warning(tmp_path, caplog):
    border = mask(tmp_path, "b", v=(slice(0, 2), slice(2, 4), slice(0, 1)))
    infer([[mask(tmp_path, "a")], [border], [mask(tmp_path, "c", v=INSIDE)]], tmp_path, labels=LABELS)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "case a: the mask is empty"),
        ("WARNING", "case b: ventricle touches the border of the image"),
    ]


@pytest.mark.parametrize(("slices", "number"), [(True, 0), (False, 1)])
def test_first_and_last_slice_are_a_border_in_three_dimensions_only(tmp_path, caplog, slices, number):
    infer([[mask(tmp_path, "a", v=INSIDE)]], tmp_path, labels=LABELS, slices=slices)
    assert len(caplog.messages) == number


def test_a_mask_that_replaces_another_is_told(tmp_path, caplog):
    (tmp_path / "b_seg.nii.gz").touch()
    infer([[mask(tmp_path, name, v=INSIDE)] for name in "ab"], tmp_path, labels=LABELS)
    assert caplog.messages == ["1 segmentation replaced an earlier file of the same name: b_seg.nii.gz"]


def test_classes_are_called_by_their_numbers_where_the_names_are_not_theirs(caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    assert class_names(LABELS, 2) == class_names(LABELS, None) == ["ventricle"] and not caplog.messages
    assert class_names(LABELS, 4) == ["class 1", "class 2", "class 3"]
    assert caplog.messages == ["2 labels for 4 classes, which are called by their numbers; pass --labels"]
