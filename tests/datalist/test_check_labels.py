import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_items
from monai_ext.keys import UNLABELED
from tests.datalist.lists import LABELS, contradict, full_mask, only_problem, save, save_as, weak_mask


def test_an_illegal_label_value_is_counted_and_located(data):
    mask = full_mask()
    mask[5, 4, 3] = 4
    path = save(data["training"][0]["label"], mask)
    message = only_problem(data)
    assert message.startswith(
        f"training[0] (p1_01): label {path}: Expected values among [0, 1], got 4 in 1 voxel,"
    )
    assert "first at (5, 4, 3)" in message


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_a_label_value_that_is_no_integer_is_a_problem(data, value):
    mask = full_mask().astype(np.float32)
    mask[0, 0, 1] = value
    save(data["training"][0]["label"], mask)
    message = only_problem(data)
    assert f"Expected integer class indices, got {value:g}" in message and "(0, 0, 1)" in message


def test_a_full_label_with_unlabeled_voxels_should_be_marked_partial(data):
    save(data["training"][0]["label"], weak_mask())
    message = only_problem(data)
    assert (
        "training[0] (p1_01): label" in message
        and "got 255" in message
        and 'mark the item "partial"' in message
    )


def test_a_weak_label_that_contradicts_its_reference_is_a_problem(data):
    path = contradict(data)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): label {path}: ")
    assert "2 voxels, first at (5, 4, 2): 1 instead of 0" in message
    assert check_items(data, LABELS) == []


def test_a_weak_label_that_contradicts_a_full_one_of_the_same_image_is_a_problem(data):
    contradict(data)
    weak = data["training"][1]
    data["training"].append({**weak, "label": weak["reference"], "supervision": "full", "case": "p2_01_full"})
    assert "training[1] (p2_01): label" in (message := only_problem(data)) and weak["reference"] in message


def test_a_noisy_label_may_contradict_its_reference_and_leave_voxels_out(data, noisy):
    contradict(data)
    assert UNLABELED in np.asanyarray(nib.load(noisy["label"]).dataobj)
    assert check_items(data, LABELS, references=True) == []


def test_a_noisy_label_is_no_truth_for_a_weak_one_of_the_same_image(data, noisy):
    weak = {"supervision": "partial", "label": save_as(noisy, weak_mask()), "case": "p2_01_weak"}
    data["training"].append({**noisy, **weak})
    contradict(data)
    assert check_items(data, LABELS, references=True) == []
    save_as(noisy, 1 - full_mask())
    assert only_problem(data, references=True).startswith("training[2] (p2_01_weak): label")


@pytest.mark.parametrize("role", ["label", "reference"])
@pytest.mark.parametrize(
    ("mask", "affine", "words"),
    [
        (3 * full_mask(), None, "Expected values among [0, 1], got 3"),
        (full_mask()[:-1], None, "Expected shape (6, 5, 4)"),
        (full_mask(), 2 * np.eye(4), "Expected the affine of"),
    ],
)
def test_the_files_of_a_noisy_item_are_checked_themselves(data, noisy, role, mask, affine, words):
    path = save(noisy[role], mask, affine)
    message = only_problem(data, references=True)
    assert message.startswith(f"training[1] (p2_01): {role} {path}: {words}")


def test_the_reference_of_a_noisy_item_must_say_the_class_of_every_voxel(data, noisy):
    save(noisy["reference"], weak_mask())
    assert "reference" in (message := only_problem(data, references=True)) and "got 255" in message
