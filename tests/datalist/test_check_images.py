from pathlib import Path

import numpy as np
import pytest

from monai_ext.datalist.checks import check_items, require_valid
from tests.datalist.lists import (
    LABELS,
    SHAPE,
    cut_the_checksum,
    full_mask,
    only_problem,
    overwrite,
    save,
    truncate,
)


def test_a_clean_list_has_no_problem(data):
    assert check_items(data, LABELS, references=True) == []
    require_valid(data, LABELS)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: Path(path).unlink(), "Expected a file, got nothing"),
        (truncate, "complete, readable image, got EOFError"),
        (cut_the_checksum, "complete, readable image, got EOFError"),
        (overwrite, "complete, readable image, got BadGzipFile"),
    ],
)
@pytest.mark.parametrize("role", ["image", "label", "reference"])
def test_a_file_that_cannot_be_read_is_named(data, damage, words, role):
    path = data["training"][1][role]
    damage(path)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): {role} {path}: Expected") and words in message


def test_a_reference_is_opened_only_on_demand(data):
    truncate(data["training"][1]["reference"])
    assert check_items(data, LABELS) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_located(data, value):
    image = np.random.default_rng(0).normal(size=SHAPE)
    image[1, 2, 3] = image[4, 0, 0] = value
    path = save(data["training"][0]["image"], image)
    message = only_problem(data)
    assert message.startswith(f"training[0] (p1_01): image {path}: ")
    assert "2 voxels, first at (1, 2, 3)" in message


def test_an_image_of_one_intensity_is_a_problem(data):
    save(data["test"][0]["image"], np.full(SHAPE, 7, np.int16))
    assert "test[0] (p4_01): image" in (message := only_problem(data)) and "constant intensity 7" in message


@pytest.mark.parametrize("role", ["label", "reference"])
def test_a_shape_that_differs_from_the_image_is_told(data, role):
    path = save(data["training"][1][role], full_mask()[:, :, :3])
    message = only_problem(data, references=True)
    assert (
        f"training[1] (p2_01): {role} {path}: Expected shape (6, 5, 4)" in message and "(6, 5, 3)" in message
    )


@pytest.mark.parametrize(
    ("row", "column", "by", "words"),
    [(0, 3, 5.0, "origin by 5 "), (1, 1, 0.25, "spacing or axes by 0.25 ")],
)
def test_an_affine_that_differs_from_the_image_is_told(data, row, column, by, words):
    affine = np.eye(4)
    affine[row, column] += by
    path = save(data["validation"][0]["label"], full_mask(), affine)
    message = only_problem(data)
    assert message.startswith(f"validation[0] (p3_01): label {path}: ") and words in message


def test_an_affine_within_the_tolerance_passes(data):
    save(data["validation"][0]["label"], full_mask(), np.eye(4) + 5e-4 * np.eye(4, k=1))
    assert check_items(data, LABELS) == []


def test_channels_of_one_file_are_checked_one_by_one(data):
    image = np.random.default_rng(1).normal(size=(*SHAPE, 2))
    save(data["training"][0]["image"], image)
    assert check_items(data, LABELS) == []
    image[..., 1] = 3
    save(data["training"][0]["image"], image)
    assert "constant intensity 3 of channel 1" in only_problem(data)


def test_each_file_is_read_once(data, monkeypatch):
    from monai_ext.datalist import check_files

    opened = []
    read = check_files.read_volume
    monkeypatch.setattr(check_files, "read_volume", lambda path: opened.append(str(path)) or read(path))
    data["training"].append({**data["training"][0], "label": data["training"][1]["reference"]})
    check_items(data, LABELS)
    assert len(opened) == len(set(opened)) == 9
