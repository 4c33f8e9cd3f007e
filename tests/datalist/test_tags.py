from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ext.datalist.check_entries import parse_entries
from monai_ext.datalist.tags import (
    constant_tags,
    number_problem,
    tag_problems,
    tags_contradiction,
    tags_of_slices,
    untagged,
)
from monai_ext.images.grids import Grid, Volume
from monai_ext.keys import UNLABELED

LABELS = range(3)
MASK, IMAGE = Path("mask.nii"), "image.nii"


def entries(*tags, supervision="tags"):
    given = [{} if t is None else {"tags": t} for t in tags]
    return parse_entries({"training": [{"image": IMAGE, "supervision": supervision, **i} for i in given]})[0]


def mask(array):
    return Volume(MASK, np.asarray(array), np.eye(4))


def test_one_list_of_0_and_1_for_each_class_has_no_problem():
    assert tag_problems(entries([[0, 1], [1, 1]], [[], []]), LABELS) == []
    assert tag_problems(entries(None, supervision="none"), LABELS) == []


@pytest.mark.parametrize(
    ("tags", "got"),
    [
        (3, "something that is no list of lists"),
        ([0, 1], "something that is no list of lists"),
        ([[0, 1]], "1 lists"),
        ([[0]] * 3, "3 lists"),
        ([[0, 0], [0, 2]], "2 for class 2 in slice 1 (from 0)"),
        ([[0.5], [1]], "0.5 for class 1 in slice 0 (from 0)"),
        ([[None], [1]], "None for class 1 in slice 0 (from 0)"),
    ],
)
def test_malformed_tags_are_told_with_entry_and_image(tags, got):
    (entry,) = entries(tags)
    ((order, message),) = tag_problems([entry], LABELS)
    assert order == 0 and message.startswith(
        "training[0]: tags for image.nii: Expected 1 or 0 for each slice"
    )
    assert f"got {got}; correct the tags." in message
    assert number_problem(entry, Grid(Path(IMAGE), (2, 2, 7), np.eye(4)), LABELS) is None
    assert tags_contradiction(entry, mask(np.zeros((2, 2, 2))), LABELS) is None
    assert constant_tags([entry], LABELS) == []


def test_missing_tags_are_told():
    ((_, message),) = tag_problems(entries(None), LABELS)
    assert message.startswith(
        'training[0]: tags for image.nii: Expected tags for supervision "tags", got none; '
        'add them, leave the item out, or set "none"'
    )


def test_where_every_item_needs_tags_those_without_are_told_once():
    """Of kind "tags", `tag_problems` tells them."""
    item = {"image": IMAGE, "case": "a"}
    kinds = [{"supervision": "none"}, {"supervision": "tags"}, {"tags": [[0], [1]]}]
    assert untagged({"training": [item | kind for kind in kinds], "validation": [item]}) == [
        f"{place} (a): Expected tags, one for each slice, got none; add them or leave the item out."
        for place in ("training[0]", "validation[0]")
    ]


@pytest.mark.parametrize(("shape", "slices"), [((5, 4, 3), 3), ((5, 4), 1)])
def test_tags_must_be_as_many_as_slices(shape, slices):
    grid = Grid(Path(IMAGE), shape, np.eye(4))
    right, wrong = entries([[0] * slices] * 2, [[0] * slices, [0] * 4])
    assert number_problem(right, grid, LABELS) is None
    message = number_problem(wrong, grid, LABELS)
    assert message.startswith(f"for image.nii: Expected {slices} tags of class 2") and "got 4;" in message


@given(
    st.lists(st.lists(st.sampled_from([0, 1, 2, UNLABELED]), min_size=4, max_size=4), min_size=1, max_size=5)
)
@settings(deadline=None, max_examples=50)
def test_a_contradiction_is_what_loops_over_slices_find(slices):
    array = np.array(slices).T.reshape(2, 2, -1)
    truth = [[int(value in s) for s in slices] for value in (1, 2)]
    depth = len(slices)
    for k, z in product(range(2), range(depth)):
        tags = [list(row) for row in truth]
        tags[k][z] = 1 - tags[k][z]
        message = tags_contradiction(*entries(tags), mask(array), LABELS)
        assert (
            f"full mask mask.nii, got 1 that do not, first {tags[k][z]} of class {k + 1} in slice {z}"
            in message
        )
    for shape in (array.shape, (*array.shape, 1)):
        assert tags_contradiction(*entries(truth), mask(array.reshape(shape)), LABELS) is None


def test_the_first_of_several_contradictions_is_the_first_slice():
    array = np.zeros((2, 2, 3))
    array[0, 0, 1] = 2
    message = tags_contradiction(*entries([[0, 0, 1], [0, 0, 0]]), mask(array), LABELS)
    assert "got 2 that do not, first 0 of class 2 in slice 1 (from 0), which shows it" in message
    message = tags_contradiction(*entries([[1, 0, 1], [0, 1, 0]]), mask(array), LABELS)
    assert "got 2 that do not, first 1 of class 1 in slice 0 (from 0), which does not show it" in message


def test_masks_of_another_depth_or_of_several_channels_are_not_compared():
    (entry,) = entries([[1, 1], [1, 1]])
    assert tags_contradiction(entry, mask(np.zeros((2, 2, 3))), LABELS) is None
    assert tags_contradiction(entry, mask(np.zeros((2, 2, 2, 2))), LABELS) is None


def test_each_class_without_both_tags_is_told():
    first, second = constant_tags(entries([[0, 0], [1, 1]], [[0], [1]]), LABELS)
    assert first.startswith(
        "training: Expected slices with and without class 1, got the tag 0 in every slice of 2"
    )
    assert "class 2, got the tag 1" in second and "training[0]" in second
    assert constant_tags(entries([[0], [0]], [[1], [1]]), LABELS) == []


def test_where_another_kind_teaches_too_tags_may_be_equal():
    item = {"image": IMAGE, "supervision": "tags", "tags": [[1], [1]]}
    listed = [item, {"image": "b", "label": "c", "supervision": "partial"}]
    assert constant_tags(parse_entries({"training": listed})[0], LABELS) == []
    assert len(constant_tags(parse_entries({"training": listed[:1]})[0], LABELS)) == 2


def test_an_empty_training_list_has_no_equal_tags():
    assert constant_tags([], LABELS) == []


def test_the_table_has_a_row_for_each_slice():
    data = [{"tags": [[0, 1], [1, 1]]}, {}, {"tags": [[1], [0]]}]
    expected = [[0, 1], [1, 1], [UNLABELED] * 2, [UNLABELED] * 2, [UNLABELED] * 2, [1, 0]]
    table = tags_of_slices(data, [2, 3, 1])
    assert table.tolist() == expected and table.dtype == torch.int64
    assert tags_of_slices([{}, {"tags": None}], [2, 3]) is None


def test_items_with_tags_of_other_classes_are_refused():
    with pytest.raises(ValueError, match=r"same number of classes in every item, got \[1, 2\]"):
        tags_of_slices([{"tags": [[0]]}, {"tags": [[0], [1]]}], [1, 1])
