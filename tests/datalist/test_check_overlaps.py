"""What a datalist holds twice, whatever its files are called; and what is worth a line and no problem."""

import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_items
from tests.datalist.lists import LABELS, full_mask, only_problem, save


def copied(item, case, folder):
    """An item whose files are copies under other names."""
    found = {**item, "case": case, "patient": case}
    for key in ("image", "label"):
        found[key] = shutil.copy(item[key], folder / f"{case}_{key}.nii.gz")
    return found


def test_two_cases_of_one_name_are_told(data, tmp_path):
    data["test"][0]["case"] = "p1_01"
    message = only_problem(data)
    assert message.startswith(
        'test[0] (p1_01): Expected a "case" of its own, got that of training[0] (p1_01)'
    )


def test_an_item_listed_twice_is_told_once(data):
    data["training"].append(dict(data["training"][0]))
    message = only_problem(data)
    assert message.startswith("training[2] (p1_01): Expected each image once, got that of training[0]")


def test_a_copy_and_a_link_of_an_image_are_the_same_image(data, tmp_path):
    link = tmp_path / "link.nii.gz"
    link.symlink_to(data["training"][0]["image"])
    data["training"] += [
        copied(data["training"][0], "copy", tmp_path),
        {**data["training"][0], "image": str(link), "case": "link"},
    ]
    first, second = check_items(data, LABELS)
    assert first.startswith("training[2] (copy): Expected each image once, got that of training[0] (p1_01)")
    assert second.startswith("training[3] (link): Expected each image once")


def test_an_image_saved_in_another_type_is_the_same_image(data, tmp_path):
    twin = copied(data["training"][0], "twin", tmp_path)
    save(twin["image"], np.asanyarray(nib.load(twin["image"]).dataobj).astype(np.float64))
    data["training"].append(twin)
    assert only_problem(data).startswith("training[2] (twin): Expected each image once")


def test_a_copy_in_another_list_is_told(data, tmp_path):
    data["validation"].append(copied(data["training"][0], "copy", tmp_path))
    message = only_problem(data)
    assert message.startswith("validation[1] (copy): Expected other images than in training, got that of ")


def test_two_labels_of_one_image_are_a_note(data, tmp_path, caplog):
    twin = copied(data["training"][0], "second", tmp_path)
    save(twin["label"], 1 - full_mask())
    data["training"].append(twin)
    with caplog.at_level(logging.WARNING):
        assert check_items(data, LABELS) == []
    assert "1 item has the image of another item: training[2] (second)" in caplog.text


@pytest.mark.parametrize("moved", [True, False])
def test_a_copy_at_another_place_or_with_another_label_file_is_a_note(data, tmp_path, caplog, moved):
    twin = copied(data["training"][0], "second", tmp_path)
    if moved:
        for key in ("image", "label"):
            save(twin[key], np.asanyarray(nib.load(twin[key]).dataobj), np.diag([1, 1, 3, 1]))
    else:
        twin["image"] = data["training"][0]["image"]
    data["training"].append(twin)
    assert check_items(data, LABELS) == []
    assert caplog.text.count("has the image of another item") == 1


def test_a_constant_image_is_no_copy_of_another(data):
    for section in ("training", "test"):
        save(data[section][0]["image"], np.zeros((6, 5, 4)))
    assert all("constant" in message for message in check_items(data, LABELS))


def test_different_orientations_are_a_note(data, caplog):
    item = data["training"][0]
    for key in ("image", "label"):
        turned = nib.load(item[key]).as_reoriented(np.array([[1, 1], [0, -1], [2, 1]]))
        save(item[key], np.asanyarray(turned.dataobj), turned.affine)
    with caplog.at_level(logging.WARNING):
        assert check_items(data, LABELS) == []
    (line,) = caplog.messages
    assert line.startswith("images are stored in 2 orientations: ") and "RAS in 3" in line
    assert "in 1, e.g. training[0] (p1_01)" in line


def test_a_class_without_a_voxel_is_told(data):
    (message,) = check_items(data, {0, 1, 2})
    assert message.startswith("training: Expected a voxel of each class, got none of label 2 in 2 label maps")
    data["training"][1] |= {"tags": [[0, 1, 1, 0], [0, 1, 0, 0]]}
    assert check_items(data, {0, 1, 2}) == []  # tags say where it is


@pytest.mark.parametrize("kind", ["full", "partial", "noisy"])
def test_a_mask_of_0_and_255_is_taken_for_what_it_is(data, kind):
    path = save(data["training"][0]["label"], 255 * full_mask())
    data["training"][0]["supervision"] = kind
    message = only_problem(data)
    assert f"label {path}: Expected class numbers, got 0 and 255, as in a binary mask; write 1" in message
    assert "partial" not in message


def test_a_weak_label_of_some_background_alone_is_none(data):
    mask = np.full((6, 5, 4), 255, np.uint8)
    mask[0, 0] = 0
    save(data["training"][1]["label"], mask)
    assert check_items(data, LABELS) == []


def test_a_list_of_unlabeled_test_images_is_one_line(data, tmp_path):
    rng = np.random.default_rng(5)
    images = [save(tmp_path / f"u{n}.nii.gz", rng.normal(size=(6, 5, 4))) for n in range(3)]
    data["test"] = [{"image": image, "supervision": "none"} for image in images]
    message = only_problem(data)
    assert message.startswith('test[0] and 2 more: Expected supervision "full" in a section that scores')


def test_a_series_in_time_is_refused_where_no_channels_are_named(data):
    path = save(data["training"][0]["image"], np.random.default_rng(1).normal(size=(6, 5, 4, 3)))
    (message,) = check_items(data, LABELS, modalities=[])
    assert message.startswith(f"training[0] (p1_01): image {path}: Expected one channel, since the datalist")
    assert Path(path).name in message and "got 3" in message
