from pathlib import Path

import numpy as np
import pytest

from monai_ext.datalist.checks import DataError, check_items, require_valid
from tests.datalist.lists import LABELS, SHAPE, full_mask, modalities, only_problem, save


def test_modalities_must_lie_on_each_other(data, tmp_path):
    second = save(tmp_path / "t2.nii", np.random.default_rng(1).normal(size=(6, 5, 3)))
    first = data["training"][0]["image"]
    data["training"][0]["image"] = [first, second]
    message = only_problem(data)
    assert message.startswith(f"training[0] (p1_01): image {first}, {second}: Expected one shape for all")
    assert "got p1_01.nii.gz (6, 5, 4), t2.nii (6, 5, 3);" in message


def test_cases_with_every_modality_have_no_problem(data):
    named = modalities(data, "t1", "flair")
    named["test"][0]["image"] = save(
        Path(named["test"][0]["image"][0]).with_name("all.nii"),
        np.random.default_rng(3).normal(size=(*SHAPE, 2)),
    )
    assert check_items(named, LABELS, modalities=["t1", "flair"]) == []


def test_a_case_that_lacks_a_modality_is_named_with_what_it_has(data):
    lost = modalities(data, "t1", "flair")["training"][1]["image"].pop()
    Path(lost).unlink()
    message = only_problem(data, modalities=["t1", "flair"])
    assert message.startswith(f"training[1] (p2_01): image {data['training'][1]['image'][0]}: Expected 2 ")
    assert "got 1 without flair" in message
    require_valid({"training": data["training"][:1]}, LABELS, modalities=["t1", "flair"])
    with pytest.raises(DataError, match="without flair"):
        require_valid(data, LABELS, modalities=["t1", "flair"])


def test_modalities_that_lie_apart_are_both_named(data):
    first, second = modalities(data, "t1", "flair")["training"][0]["image"]
    save(second, np.random.default_rng(1).normal(size=SHAPE), np.diag([1, 1, 2, 1]))
    message = only_problem(data, modalities=["t1", "flair"])
    assert message.startswith(f"training[0] (p1_01): image {first}, {second}: Expected one affine for all")
    assert "another in flair (spacing or axes by 1) than in t1 (tolerance 0.01 voxel);" in message


@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize(
    ("depth", "affine", "words"),
    [
        (3, None, "Expected shape (6, 5, 4) as in the"),
        (4, np.diag([1, 1, 2, 1]), "Expected the affine of the"),
    ],
)
def test_one_bad_modality_is_one_problem_whatever_else_the_case_has(tagged, odd, depth, affine, words):
    names = ["t1", "flair", "t1ce"]
    item = modalities(tagged, *names)["training"][1]
    item["label"] = item["reference"]
    path = save(item["image"][odd], np.random.default_rng(1).normal(size=(6, 5, depth)), affine)
    options = {"references": True, "scoring_kinds": ("full", "tags")}
    message = only_problem(tagged, modalities=names, **options)
    assert message.startswith(f"training[1] (p2_01): image {path}: {words} other modalities, got ")


def test_a_label_is_compared_with_most_modalities_and_not_with_the_odd_first_one(data):
    item = modalities(data, "t1", "flair", "t1ce")["training"][0]
    for path in (item["image"][0], item["label"]):
        save(path, np.random.default_rng(1).integers(0, 2, (6, 5, 3), np.uint8))
    image, label = check_items(data, LABELS)
    assert f"image {item['image'][0]}: Expected shape (6, 5, 4) as in the other modalities" in image
    assert f"label {item['label']}: Expected shape (6, 5, 4) as in {item['image'][1]}, got" in label


def test_where_modalities_disagree_nothing_else_is_compared_with_them(tagged):
    item = modalities(tagged, "t1", "flair")["training"][1]
    item["tags"] = [[0, 1, 1]]
    save(item["reference"], full_mask()[..., :3])
    save(item["image"][0], np.random.default_rng(1).normal(size=(6, 5, 2)))
    message = only_problem(tagged, references=True, scoring_kinds=("full", "tags"))
    assert "Expected one shape for all modalities, got" in message
