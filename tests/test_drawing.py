import numpy as np

from monai_ext.drawing import side_around, surroundings


def test_a_square_exceeds_its_object_by_the_margin_and_no_image():
    mask = np.zeros((100, 80), bool)
    mask[40:50, 30:36] = True
    assert side_around(mask, margin=1.0) == 30 and side_around(mask, margin=0) == 10
    assert side_around(mask, margin=9) == side_around(0 * mask) == 100


def test_the_view_is_a_square_around_the_object_moved_into_the_image():
    mask = np.zeros((100, 80), bool)
    mask[40:50, 30:36] = True
    assert surroundings(mask, 30) == (slice(30, 60), slice(18, 48))
    mask[:] = False
    mask[0, 0] = True
    assert surroundings(mask, 30) == (slice(0, 30), slice(0, 30))
    assert mask[surroundings(mask, 90)].shape == (90, 80)
    assert surroundings(np.zeros_like(mask), 40) == (slice(30, 70), slice(20, 60))
