import numpy as np
import pytest

from monai_ext.handlers.mask_facts import border_axes, mask_facts


def mask(*boxes, shape=(10, 10, 4)):
    """A mask with boxes of (value, x, y, z)."""
    array = np.zeros(shape, np.uint8)
    for value, x, y, z in boxes:
        array[slice(*x), slice(*y), slice(*z)] = value
    return array


INSIDE = ((2, 5), (2, 5), (0, 4))


def test_voxels_of_each_class_are_counted():
    found = mask_facts(mask((1, *INSIDE), (2, (6, 8), (6, 8), (1, 2))), ["rv", "lv"], axes=[0, 1])
    assert found.voxels == [36, 4] and found.words == []


def test_an_empty_mask_is_told():
    assert mask_facts(mask(), ["rv", "lv"]) == ([0, 0], ["the mask is empty"])


def test_a_class_without_a_voxel_is_told():
    assert mask_facts(mask((2, *INSIDE)), ["rv", "lv", "myo"], axes=[0, 1]).words == ["no rv", "no myo"]


def test_parts_that_touch_at_a_corner_are_one():
    corner = mask((1, (2, 4), (2, 4), (1, 2)), (1, (4, 6), (4, 6), (2, 3)))
    apart = mask((1, (2, 4), (2, 4), (1, 2)), (1, (5, 6), (4, 6), (2, 3)))
    assert mask_facts(corner, ["lv"], axes=[0, 1]).words == []
    assert mask_facts(apart, ["lv"], axes=[0, 1]).words == ["lv has 2 separate parts"]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, 9])
def test_the_border_counts_along_the_axes_that_are_asked_for(axis, end):
    array = np.zeros((10, 10, 10), np.uint8)
    array[tuple([slice(4, 6)] * axis + [end] + [slice(4, 6)] * (2 - axis))] = 1
    assert mask_facts(array, ["lv"], axes=[axis]).words == ["lv touches the border of the image"]
    assert mask_facts(array, ["lv"], axes=[a for a in range(3) if a != axis]).words == []


def test_two_remarks_on_a_class_are_one_text():
    array = mask((1, (0, 2), (2, 4), (1, 2)), (1, (5, 6), (4, 6), (2, 3)))
    assert mask_facts(array, ["lv"]).words == ["lv has 2 separate parts and touches the border of the image"]


@pytest.mark.parametrize(
    ("spacing", "within"),
    [
        ((1, 1, 8), [0, 1]),
        ((1, 8, 1), [0, 2]),
        ((8, 1, 1), [1, 2]),
        ((1, 1, 1), [0, 1]),
        ((1.004, 1, 1), [0, 1]),
    ],
)
def test_slices_lie_across_the_axis_with_the_largest_spacing(spacing, within):
    affine = np.diag([*spacing, 1])
    assert border_axes(affine, (10, 20, 30), slices=True) == within
    assert border_axes(affine, (10, 20, 30), slices=False) == [0, 1, 2]
