import numpy as np
import pytest

from monai_ext.datalist.checks import DataError, check_items, require_valid
from monai_ext.keys import UNLABELED
from tests.datalist.lists import LABELS, SHAPE, only_problem, save, truncate


def test_an_empty_training_list_is_a_problem(data):
    assert only_problem({**data, "training": []}).startswith("training: Expected at least one item")


def test_a_training_list_without_a_labeled_voxel_is_a_problem(data):
    save(data["training"][1]["label"], np.full(SHAPE, UNLABELED, np.uint8))
    message = only_problem({**data, "training": data["training"][1:]})
    assert message.startswith("training: Expected a labeled voxel") and "training[0] (p2_01)" in message


def test_a_training_list_of_background_is_a_problem(data):
    save(data["training"][0]["label"], np.zeros(SHAPE, np.uint8))
    message = only_problem({**data, "training": data["training"][:1]})
    assert message.startswith("training: Expected a voxel of the foreground (label 1)")


def test_unlabeled_images_alone_are_a_problem_only_where_labels_are_needed(data):
    image = {key: data["training"][0][key] for key in ("image", "case", "patient")}
    data["training"] = [{**image, "supervision": "none"}]
    assert check_items(data, LABELS) == []
    assert only_problem(data, need_labels=True).startswith("training: Expected an item with a label, got 1")


def test_a_patient_in_two_sections_is_named_with_both_entries(data):
    data["validation"][0]["patient"] = "p1"
    message = only_problem(data)
    assert message.startswith("validation[0] (p3_01): Expected patient p1 in one section only")
    assert "training[0] (p1_01)" in message


def test_items_with_nothing_but_image_and_label_are_full_cases(data):
    bare = {name: [{k: i[k] for k in ("image", "label")} for i in found[:1]] for name, found in data.items()}
    assert check_items(bare, LABELS) == []


def test_problems_come_in_the_order_of_the_list_every_time(data):
    for items in data.values():
        for item in items:
            truncate(item["label"])
            save(item["image"], np.zeros(SHAPE))
    runs = [check_items(data, LABELS) for _ in range(5)]
    names = [message.split(" ")[0] for message in runs[0]]
    assert names == [n for n in ("training[0]", "training[1]", "validation[0]", "test[0]") for _ in range(2)]
    assert all(run == runs[0] for run in runs)


def test_training_stops_with_the_first_twenty_problems(data):
    data["training"] = [
        {**item, "supervision": "weak", "case": f"c{n}"} for n in range(12) for item in data["training"]
    ]
    with pytest.raises(DataError) as caught:
        require_valid(data, LABELS)
    lines = str(caught.value).splitlines()
    assert len(lines) == 21 and lines[-1].startswith("... and ")


def test_items_need_labels_to_be_checked_against(data):
    with pytest.raises(ValueError, match="Expected labels with a mapping of items, got None"):
        require_valid(data)
