"""Label noise: what each kind does to a slice, what it leaves alone, and what a noisy label depends on."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_ext.keys import UNLABELED
from monai_ext.transforms.label_noise import PRESETS, LabelNoise, change_sizes, noisy_label, realized_iou


def disc(radius=17.8, size=64, center=(0, 0)):
    r, c = np.mgrid[:size, :size] - size // 2
    return ((r - center[0]) ** 2 + (c - center[1]) ** 2 <= radius**2).astype(np.uint8)


def heart(slices=6, size=72):
    """Cavity (3) in a wall (2), a crescent (1) that touches it; no foreground in the first and last slice."""
    cavity, outer, crescent = (disc(*shape) > 0 for shape in ((8, size), (13, size), (14, size, (0, -16))))
    plane = np.select([cavity, outer, crescent], [3, 2, 1], 0)
    label = np.repeat(plane[..., None], slices, axis=-1).astype(np.uint8)
    label[..., [0, -1]] = 0
    return label


def corrupted(label, *noises, classes=(1, 2, 3), seed=0, case="a"):
    return noisy_label(label, classes, noises, seed, case)


def iou(noisy, clean, k=1):
    return realized_iou([(noisy, clean)], [k])[k]


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_an_organ_of_1000_pixels_is_eroded_or_dilated_k_times_by_a_box(k):
    plane = np.pad(np.ones((25, 40), dtype=np.uint8), 20)
    for under, by_scipy in ((True, ndimage.binary_erosion), (False, ndimage.binary_dilation)):
        expected = by_scipy(plane, np.ones((3, 3)), iterations=k)
        np.testing.assert_array_equal(change_sizes(plane, [1], k, under), expected)


@pytest.mark.parametrize("under", [True, False])
def test_the_strength_is_relative_to_the_size_of_the_organ(under):
    small, large = (disc(radius, 256) for radius in (12, 60))
    changes = [iou(change_sizes(plane, [1], 3, under), plane) for plane in (small, large)]
    assert changes[0] == pytest.approx(changes[1], abs=0.06)


@pytest.mark.parametrize(
    ("under", "expected"), [(True, [0.735, 0.615, 0.503]), (False, [0.771, 0.686, 0.615])]
)
def test_discs_lose_and_gain_what_the_published_noise_takes_and_gives(under, expected):
    plane = disc(40, 160)
    found = [iou(change_sizes(plane, [1], k, under), plane) for k in (2, 3, 4)]
    np.testing.assert_allclose(found, expected, atol=0.015)


@pytest.mark.parametrize("radius", [3, 5.5, 11, 20, 33])
@pytest.mark.parametrize("center", [(0, 0), (-21, 13)])
@pytest.mark.parametrize("under", [True, False])
def test_a_changed_disc_keeps_its_center(radius, center, under):
    plane = disc(radius, 128, center)
    moved = ndimage.center_of_mass(change_sizes(plane, [1], 2, under))
    np.testing.assert_allclose(moved, ndimage.center_of_mass(plane), atol=0.35)


def test_the_edge_of_the_slice_does_not_erode():
    np.testing.assert_array_equal(change_sizes(np.ones((30, 40), dtype=np.uint8), [1], 3, True), 1)


@given(k=st.integers(0, 6), radius=st.floats(1, 9))
@settings(max_examples=30, deadline=None)
def test_isolated_organs_shrink_or_grow(k, radius):
    plane = np.maximum(disc(radius, center=(-14, -12)), 2 * disc(10 - radius / 2, center=(15, 14)))
    for under in (True, False):
        changed = change_sizes(plane, [1, 2], k, under)
        inner, outer = (changed, plane) if under else (plane, changed)
        assert ((inner == 0) | (inner == outer)).all()
        assert k > 0 or (changed == plane).all()


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_no_organ_overwrites_another(k):
    label = heart()
    for under_share in (0, 1):
        noisy = corrupted(label, LabelNoise("size", (k, k), under_share))
        organs = (label > 0) & (noisy > 0)
        np.testing.assert_array_equal(noisy[organs], label[organs])
        assert (noisy != label).any()


def test_background_between_two_organs_goes_to_the_lower_class():
    plane = np.zeros((40, 60), dtype=np.uint8)
    plane[10:30, 10:28], plane[10:30, 31:49] = 2, 1
    noisy = corrupted(plane[..., None], LabelNoise("size", (5, 5), 0), classes=[2, 1])
    np.testing.assert_array_equal(noisy[20, 28:31, 0], 1)


def test_an_organ_may_be_eroded_away():
    plane = np.zeros((40, 40), dtype=np.uint8)
    plane[20, 5:35] = 1
    assert not change_sizes(plane, [1], 6, True).any()


def test_all_organs_of_a_slice_are_too_small_or_all_too_large():
    label = np.repeat(np.maximum(disc(9, center=(-14, -12)), 2 * disc(7, center=(15, 14)))[..., None], 40, -1)
    noisy = corrupted(label, LabelNoise("size", (3, 3)))
    growth = [((noisy == k).sum(axis=(0, 1)) > (label == k).sum(axis=(0, 1))) for k in (1, 2)]
    np.testing.assert_array_equal(*growth)
    assert 8 < growth[0].sum() < 32


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_under_share_is_the_share_of_eroded_slices(share):
    label = np.repeat(disc(8, 40)[..., None], 150, axis=-1)
    noisy = corrupted(label, LabelNoise("size", (2, 2), under_share=share))
    eroded = (noisy == 1).sum(axis=(0, 1)) < (label == 1).sum(axis=(0, 1))
    assert eroded.mean() == pytest.approx(share, abs=0.1)


def test_every_strength_of_the_range_is_drawn():
    label = np.repeat(disc(8, 40)[..., None], 60, axis=-1)
    noisy = corrupted(label, LabelNoise("size", (2, 4), under_share=1))
    expected = {int(change_sizes(label[..., 0], [1], k, True).sum()) for k in (2, 3, 4)}
    assert set(noisy.sum(axis=(0, 1)).tolist()) == expected and len(expected) == 3


def test_symmetric_noise_on_discs_has_the_published_iou():
    label = np.repeat(disc()[..., None], 100, axis=-1)
    assert 0.55 < iou(corrupted(label, PRESETS["symmetric"]), label) < 0.7


def test_iou_falls_with_the_strength():
    label = np.repeat(disc()[..., None], 20, axis=-1)
    found = [iou(corrupted(label, LabelNoise("size", (k, k))), label) for k in range(8)]
    assert found[0] == 1 and (np.diff(found) < 0).all()


@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_wobbling_boundary_deviates_by_its_strength(k):
    label = np.zeros((160, 160, 12), dtype=np.uint8)
    label[:, :80] = 1
    height = corrupted(label, LabelNoise("wobble", (k, k))).sum(axis=1)  # where the boundary is, row by row
    assert np.sqrt(((height - 80.0) ** 2).mean()) == pytest.approx(k, rel=0.25)
    assert np.abs(np.diff(height.astype(int), axis=0)).mean() < 0.2 * k + 1e-9


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_a_shift_moves_a_slice_as_a_whole(k):
    label = np.repeat(heart()[..., 2:3], 25, axis=-1)
    noisy = corrupted(label, LabelNoise("shift", (k, k)))
    offsets = set()
    for index in range(25):
        r, c = np.rint(np.subtract(*(ndimage.center_of_mass(x[..., index] > 0) for x in (noisy, label))))
        np.testing.assert_array_equal(noisy[..., index], np.roll(label[..., index], (int(r), int(c)), (0, 1)))
        assert math.hypot(r, c) == pytest.approx(k, abs=0.75)
        offsets.add((r, c))
    assert len(offsets) >= 4 * min(k, 2) or k == 0


@pytest.mark.parametrize(("first", "last"), [(1, 1), (2, 2), (9, 9)])
def test_slices_at_both_ends_of_the_foreground_are_missed(first, last):
    label = heart(slices=9)  # foreground in 1..7
    noisy = corrupted(label, LabelNoise("missed", (first, last), slice_share=0))
    kept = list(range(1 + first, 8 - last))
    np.testing.assert_array_equal(np.flatnonzero(noisy.any(axis=(0, 1))), kept)
    np.testing.assert_array_equal(noisy[..., kept], label[..., kept])


def test_slice_share_is_the_share_of_missed_slices():
    label = np.repeat(disc(3, 9)[..., None], 400, axis=-1)
    noisy = corrupted(label, LabelNoise("missed", slice_share=0.3))
    assert (~noisy.any(axis=(0, 1))).mean() == pytest.approx(0.3, abs=0.07)


def test_two_classes_of_a_slice_are_exchanged():
    label = np.repeat(heart()[..., 2:3], 60, axis=-1)
    noisy = corrupted(label, LabelNoise("swapped"))
    pairs = set()
    for index in range(60):
        became = [int(np.unique(noisy[..., index][label[..., index] == k]).item()) for k in range(4)]
        assert sorted(became) == [0, 1, 2, 3] and sum(b != k for k, b in enumerate(became)) == 2
        pairs.add(tuple(became))
    assert pairs == {(0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 3, 2)}


def test_a_class_alone_in_its_slice_takes_the_name_of_another():
    label = np.repeat(2 * disc(5, 20)[..., None], 30, axis=-1)
    noisy = corrupted(label, LabelNoise("swapped"))
    assert set(noisy.max(axis=(0, 1)).tolist()) == {1, 3}


@pytest.mark.parametrize("name", PRESETS)
def test_unlabeled_voxels_and_other_classes_stay(name):
    label = np.repeat(heart()[..., 2:3], 12, axis=-1)
    label[20:30] = UNLABELED
    label[50:55, 30:40] = 7
    noisy = corrupted(label, PRESETS[name], classes=[1, 3])
    fixed = ~np.isin(label, [0, 1, 3])
    np.testing.assert_array_equal(noisy[fixed], label[fixed])
    assert set(np.unique(noisy[~fixed])) <= {0, 1, 3} and (noisy != label).any()


@pytest.mark.parametrize("name", PRESETS)
def test_an_empty_label_stays_empty(name):
    noisy = corrupted(np.zeros((9, 8, 3), dtype=np.int64), PRESETS[name])
    assert noisy.dtype == np.uint8 and noisy.shape == (9, 8, 3) and not noisy.any()


@pytest.mark.parametrize("name", PRESETS)
def test_the_label_is_not_changed(name):
    label = heart()
    corrupted(label, PRESETS[name])
    np.testing.assert_array_equal(label, heart())


@pytest.mark.parametrize("name", PRESETS)
def test_equal_seeds_give_equal_labels_and_others_do_not(name):
    label = heart(slices=12)
    first = corrupted(label, PRESETS[name])
    np.random.seed(1)  # a global state that must not matter
    np.testing.assert_array_equal(corrupted(label, PRESETS[name], classes=[3, 1, 2]), first)
    assert (corrupted(label, PRESETS[name], seed=5) != first).any()
    assert (corrupted(label, PRESETS[name], case="b") != first).any()
    assert any((first[..., 1] != first[..., i]).any() for i in range(2, 11))


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "missed-slices"])
def test_a_slice_does_not_depend_on_the_others(name):
    label, other = heart(), heart()
    other[..., [1, 2, 4]] = 0
    noisy = corrupted(other, PRESETS[name])
    np.testing.assert_array_equal(noisy[..., 3], corrupted(label, PRESETS[name])[..., 3])
    assert not noisy[..., [1, 2, 4]].any()


@pytest.mark.parametrize("kind", ["size", "wobble", "shift", "missed", "swapped"])
def test_a_smaller_share_changes_some_of_the_same_slices(kind):
    label = heart(slices=30)
    none, half, full = (
        corrupted(label, LabelNoise(kind, (4, 4) if kind != "missed" else (0, 0), slice_share=share))
        for share in (0, 0.5, 1)
    )
    changed = (half != label).any(axis=(0, 1))
    np.testing.assert_array_equal(none, label)
    np.testing.assert_array_equal(half[..., changed], full[..., changed])
    assert 6 < changed.sum() < 24 and (full != label).any(axis=(0, 1)).sum() == 28


def test_noises_follow_one_another():
    label = heart()
    erosion, shift = LabelNoise("size", (2, 2), under_share=1), LabelNoise("shift", (4, 4))
    both = corrupted(label, erosion, shift)
    np.testing.assert_array_equal(
        (both > 0).sum(axis=(0, 1)), (corrupted(label, erosion) > 0).sum(axis=(0, 1))
    )
    assert (both != corrupted(label, erosion)).any()
    np.testing.assert_array_equal(corrupted(label), label)


def test_the_noise_of_a_seed_stays_the_same_in_every_version():
    label = np.repeat(disc()[..., None], 4, axis=-1)
    noisy = corrupted(label, PRESETS["symmetric"], seed=3, case="patient001_frame01")
    assert noisy.sum(axis=(0, 1)).tolist() == [1445, 605, 1613, 1285]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "blur"}, "kind one of size, wobble, shift, missed, swapped, got 'blur'"),
        ({"strength": (4, 2)}, r"0 <= lo <= hi, got \(4, 2\)"),
        ({"strength": (-1, 2)}, r"0 <= lo <= hi, got \(-1, 2\)"),
        ({"strength": (0.5, 2)}, r"whole with 0 <= lo <= hi, got \(0\.5, 2\)"),
        ({"under_share": 1.1}, r"under_share in 0\.\.1, got 1\.1"),
        ({"slice_share": -0.1}, r"slice_share in 0\.\.1, got -0\.1"),
    ],
)
def test_impossible_noise_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LabelNoise(**{"kind": "size"} | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label": np.zeros((4, 4, 1))}, TypeError, "integer type, got float64"),
        ({"label": np.zeros((4, 4), dtype=int)}, ValueError, r"\(H, W, D\), got shape \(4, 4\)"),
        ({"label": np.full((4, 4, 1), 300)}, ValueError, r"values in 0\.\.255, got 300\.\.300"),
        ({"classes": [0]}, ValueError, r"classes in 1\.\.254, got \(0,\)"),
        ({"noises": [LabelNoise("swapped")]}, ValueError, r"at least two classes to swap, got \(1,\)"),
        ({"seed": -1}, ValueError, "seed >= 0, got -1"),
    ],
)
def test_says_what_was_expected(change, error, message):
    arguments = {"label": heart(), "classes": [1], "noises": [PRESETS["shift"]], "seed": 0, "case": "a"}
    with pytest.raises(error, match=message):
        noisy_label(**arguments | change)
