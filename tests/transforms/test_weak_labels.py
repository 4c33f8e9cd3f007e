"""Weak labels: what is marked, that it is true, and that it depends on (seed, case, slice) only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from monai_ext.keys import UNLABELED
from monai_ext.transforms.weak_labels import (
    STRATEGIES,
    background_spots,
    centroid_disc,
    erosion_core,
    random_point,
    scribble_label,
    weak_label,
)

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))
seeds = st.integers(0, 10_000)
fast = settings(max_examples=50, deadline=None)


def marked(mask, strategy, seed=0):
    rng = np.random.default_rng(seed)
    by_name = {"erosion": erosion_core, "random": lambda m: random_point(m, rng), "centroid": centroid_disc}
    return by_name[strategy](mask)


def heart(size=32, slices=5):
    """Cavity (3) in a wall (2), a crescent (1) beside it; the last slice is empty."""
    r, c = np.mgrid[:size, :size] - size // 2
    plane = np.select([r**2 + c**2 < 36, r**2 + c**2 < 80, r**2 + (c + 8) ** 2 < 70], [3, 2, 1], 0)
    label = np.repeat(plane[..., None], slices, axis=-1).astype(np.uint8)
    label[..., -1] = 0
    return label


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(mask=masks, seed=seeds)
@fast
def test_marks_lie_in_the_mask_and_are_empty_only_if_it_is(strategy, mask, seed):
    weak = marked(mask, strategy, seed)
    assert not (weak & ~mask).any()
    assert weak.any() == mask.any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mask_of_one_pixel_is_returned_itself(strategy):
    mask = np.zeros((6, 7), dtype=bool)
    mask[5, 2] = True
    np.testing.assert_array_equal(marked(mask, strategy), mask)


def test_erosion_stops_before_the_mask_is_empty():
    core = erosion_core(np.pad(np.ones((9, 12)), 3))
    np.testing.assert_array_equal(np.argwhere(core), [[7, c] for c in range(7, 11)])


def test_erosion_takes_off_at_most_max_iterations_pixels_a_side():
    assert erosion_core(np.pad(np.ones((31, 31)), 1)).sum() == 11**2
    assert erosion_core(np.pad(np.ones((31, 31)), 1), max_iterations=2).sum() == 27**2


def test_erosion_keeps_a_mask_too_thin_to_erode():
    thin = np.zeros((8, 8), dtype=bool)
    thin[2:4, 1:7] = True
    np.testing.assert_array_equal(erosion_core(thin), thin)


def test_a_disc_of_width_4_is_a_box_of_5_without_its_corners():
    disc = centroid_disc(np.ones((11, 11)), width=4)
    box = np.ones((5, 5), dtype=bool)
    box[[0, 0, -1, -1], [0, -1, 0, -1]] = False
    np.testing.assert_array_equal(disc[3:8, 3:8], box)
    assert disc.sum() == box.sum()


def test_the_centroid_of_a_wide_ring_falls_back_to_the_ring():
    r, c = np.mgrid[:21, :21] - 10
    ring = (r**2 + c**2 > 49) & (r**2 + c**2 < 90)
    np.testing.assert_array_equal(centroid_disc(ring), ring)


def test_random_points_visit_the_whole_mask():
    mask = np.pad(np.ones((6, 6), dtype=bool), 2)
    rng = np.random.default_rng(0)
    visited = np.any([random_point(mask, rng, width=0) for _ in range(400)], axis=0)
    np.testing.assert_array_equal(visited, mask)


@given(mask=masks, seed=seeds, count=st.integers(0, 12))
@fast
def test_background_spots_are_single_pixels_off_the_foreground(mask, seed, count):
    spots = background_spots(mask, np.random.default_rng(seed), count)
    assert not (spots & mask).any()
    assert spots.sum() == min(count, (~mask).sum())


@given(mask=masks, seed=seeds, near=st.floats(0, 4), width=st.floats(0, 4))
@fast
def test_background_spots_lie_in_the_ring(mask, seed, near, width):
    ring = (near, near + width)
    spots = background_spots(mask, np.random.default_rng(seed), 5, ring)
    if mask.any() and spots.any():
        distance = cdist(np.argwhere(spots), np.argwhere(mask)).min(axis=1)
        assert (distance >= ring[0]).all() and (distance <= ring[1]).all()
    if not mask.any():
        assert spots.sum() == min(5, mask.size)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_weak_label_repeats_the_truth_and_marks_every_class_of_every_slice(strategy):
    label = heart()
    weak = weak_label(label, [1, 2, 3], strategy, seed=0, case="a", background=7)
    said = weak != UNLABELED
    np.testing.assert_array_equal(weak[said], label[said])
    for index in range(label.shape[-1]):
        assert set(np.unique(weak[..., index][said[..., index]])) == set(np.unique(label[..., index]))
    np.testing.assert_array_equal((weak == 0).sum(axis=(0, 1)), 7)
    assert weak.dtype == np.uint8 and said.mean() < 0.2


def test_the_ends_of_the_ring_belong_to_it():
    foreground = np.zeros((7, 7))
    foreground[3, 3] = 1
    spots = background_spots(foreground, np.random.default_rng(0), 100, ring=(1, 2))
    assert spots.sum() == 12  # within 2 pixels: 4 neighbors, 4 diagonal ones, 4 straight ahead
    assert spots[3, 4] and spots[3, 5]


def test_spots_close_by_are_drawn_apart_from_the_others():
    weak = weak_label(np.zeros((60, 60, 1), dtype=int), [1], "random", 0, "a", background=20, ring_spots=20)
    assert (weak == 0).sum() > 35  # few pixels are drawn twice


def test_without_background_spots_only_foreground_is_marked():
    weak = weak_label(heart(), [3], "erosion", seed=0, case="a")
    assert set(np.unique(weak)) == {3, UNLABELED}


def test_classes_that_are_not_asked_for_are_never_called_background():
    label = heart()
    weak = weak_label(label, [3], "random", seed=0, case="a", background=2000)
    np.testing.assert_array_equal(weak == 0, label == 0)


@given(seed=seeds)
@fast
def test_a_slice_depends_on_seed_case_and_its_index_only(seed):
    label = heart()
    options = {"classes": [1, 2, 3], "strategy": "random", "seed": seed, "case": "a", "background": 5}
    whole = weak_label(label, **options)
    other = label.copy()
    other[..., [0, 1, 3, 4]] = 0
    np.random.seed(seed)  # a global state that must not matter
    np.testing.assert_array_equal(weak_label(other, **options)[..., 2], whole[..., 2])
    options["classes"] = [3, 1, 2]
    np.testing.assert_array_equal(weak_label(label, **options), whole)


@pytest.mark.parametrize("change", [{"seed": 1}, {"case": "b"}])
def test_another_seed_or_case_gives_another_label(change):
    options = {"classes": [3], "strategy": "random", "seed": 0, "case": "a", "background": 5}
    assert (weak_label(heart(), **options) != weak_label(heart(), **options | change)).any()


def test_equal_slices_get_different_points():
    weak = weak_label(heart(), [3], "random", seed=0, case="a", background=5)
    assert (weak[..., 0] != weak[..., 1]).any()


def test_the_points_of_a_seed_stay_the_same_in_every_version():
    weak = weak_label(np.ones((8, 8, 2), dtype=int), [1], "random", seed=3, case="patient001_frame01")
    assert [int(np.flatnonzero(weak[..., i] == 1)[0]) for i in range(2)] == [17, 4]


def test_max_core_voxels_limits_a_class_too_thin_to_erode():
    label = np.zeros((15, 15, 1), dtype=int)
    label[4:6, 2:12] = 1
    weak = weak_label(label, [1], "erosion", seed=0, case="a", max_core_voxels=4)
    assert (weak == 1).sum() == 4


def test_max_core_voxels_prefers_depth():
    label = np.zeros((60, 60, 1), dtype=int)
    label[5:55, 5:55] = 1
    weak = weak_label(label, [1], "erosion", seed=0, case="a", max_core_voxels=4)
    np.testing.assert_array_equal(np.argwhere(weak[..., 0] == 1), [[29, 29], [29, 30], [30, 29], [30, 30]])


def test_the_border_of_the_image_is_a_border_of_the_class():
    label = np.zeros((9, 5, 1), dtype=int)
    label[:5] = 1  # three of its sides are the image's
    weak = weak_label(label, [1], "centroid", seed=0, case="a", max_core_voxels=1)
    assert np.argwhere(weak == 1).tolist() == [[2, 2, 0]]


def test_the_label_is_not_changed():
    label = heart()
    before = label.copy()
    weak_label(label, [1, 2, 3], "erosion", seed=0, case="a", background=5, max_core_voxels=3)
    np.testing.assert_array_equal(label, before)


def test_scribbles_keep_their_strokes():
    scribble = np.array([[0, 1, 4], [2, 3, 4]], dtype=np.uint8)
    weak = scribble_label(scribble)
    np.testing.assert_array_equal(weak, [[0, 1, UNLABELED], [2, 3, UNLABELED]])
    assert weak.dtype == np.uint8


def test_a_scribble_with_an_unknown_value_is_refused():
    with pytest.raises(ValueError, match=r"Expected scribble values 0\.\.4, got \[0, 7\]"):
        scribble_label(np.array([0, 7]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": np.zeros((4, 4, 1))}, TypeError, "integer type, got float64"),
        ({"label": np.zeros((4, 4), dtype=int)}, ValueError, r"\(H, W, D\), got shape \(4, 4\)"),
        ({"classes": [0]}, ValueError, r"classes in 1\.\.254, got \(0,\)"),
        ({"strategy": "sketch"}, ValueError, "one of erosion, random, centroid, got 'sketch'"),
        ({"seed": -1}, ValueError, "seed >= 0, got -1"),
        ({"background": -1}, ValueError, "count >= 0, got -1"),
        ({"ring": (3, 1), "ring_spots": 1}, ValueError, r"near <= far, got \(3, 1\)"),
        ({"max_core_voxels": 0}, ValueError, "max_core_voxels >= 1 or None, got 0"),
    ],
)
def test_says_what_was_expected(change, error, message):
    arguments = {"label": heart(), "classes": [1], "strategy": "erosion", "seed": 0, "case": "a"}
    with pytest.raises(error, match=message):
        weak_label(**arguments | change)


def test_a_volume_where_a_slice_is_expected_is_refused():
    with pytest.raises(ValueError, match=r"mask \(H, W\), got shape \(4, 4, 2\)"):
        erosion_core(np.ones((4, 4, 2)))
