import itertools

import numpy as np
import pytest
import torch

from monai_ext.keys import UNLABELED
from monai_ext.transforms.label_correction import CorrectLabels

K = 4
SIZE = (5, 4, 3)
SUBSETS = [c for n in range(K) for c in itertools.combinations(range(1, K), n)]
"""All sets of foreground classes."""


def example(size=SIZE, seed=0, values=(0, 1, 2, 3, UNLABELED)):
    """Probabilities (K, *S), and a label (1, *S) whose last slice lacks class 3."""
    g = torch.Generator().manual_seed(seed)
    label = torch.tensor(values)[torch.randint(0, len(values), (1, *size), generator=g)].to(torch.uint8)
    label[..., -1][label[..., -1] == 3] = 0
    return (3 * torch.randn(K, *size, generator=g)).softmax(dim=0), label


def by_hand(rule, probs, label, classes):
    """The rule as it is written, voxel by voxel."""
    done, label, legal = label.clone(), label[0].numpy(), {0, *classes}
    fg, bg = rule.foreground_threshold, rule.background_threshold
    for where in np.ndindex(label.shape):
        p, y = probs.numpy()[(slice(None), *where)].tolist(), label[where]
        j = p.index(max(p[1:]), 1)
        k = j if p[j] > p[0] or (p[j] > fg and p[0] <= bg) else 0
        image = label[..., where[-1]] if rule.per_slice else label
        if y in legal and k in legal and (k == 0 or k in image):
            if p[k] > (fg if k else bg):
                done[(0, *where)] = k
            elif rule.ignore_unsure and k != y:
                done[(0, *where)] = UNLABELED
    return done


@pytest.mark.parametrize("classes", [(1,), (2, 3), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("thresholds", [(0.7, 0.7), (0.9, 0.4), (0.3, 1.0)], ids=str)
@pytest.mark.parametrize("ignore_unsure", [False, True], ids=["", "unsure"])
@pytest.mark.parametrize("per_slice", [True, False], ids=["slices", "volume"])
def test_corrected_labels_equal_those_of_the_written_rule(per_slice, ignore_unsure, thresholds, classes):
    rule = CorrectLabels(*thresholds, per_slice=per_slice, ignore_unsure=ignore_unsure)
    probs, label = example()
    corrected = rule(probs, label, classes)
    assert torch.equal(corrected, by_hand(rule, probs, label, classes))
    assert not torch.equal(corrected, label)


def test_with_thresholds_of_a_half_or_more_the_rule_is_the_published_one():
    probs, label = example(values=(0, 1, 2))
    corrected = CorrectLabels(0.5, 0.8)(probs, label, [1, 2])
    k, present = probs.argmax(dim=0, keepdim=True), torch.zeros(1, *SIZE, dtype=torch.bool)
    for where in np.ndindex(SIZE):
        present[(0, *where)] = (label[0, ..., where[-1]] == k[(0, *where)]).any() or k[(0, *where)] == 0
    confident = (probs[1:].amax(dim=0) > 0.5) | (probs[0] > 0.8)
    wanted = torch.where(confident & (k < 3) & present, k.to(label.dtype), label)
    assert torch.equal(corrected, wanted) and not torch.equal(corrected, label)


@pytest.mark.parametrize(
    ("probs", "wanted"),
    [
        ([0.5, 0.4, 0.1], 1),  # undecided, and the foreground counts
        ([0.5, 0.1, 0.4], 2),
        ([0.7, 0.3, 0.0], 0),  # the best class is not above the foreground's threshold
        ([0.62, 0.38, 0.0], 0),  # the background is above its own
        ([0.3, 0.35, 0.35], 1),
    ],
    ids=str,
)
def test_a_low_foreground_threshold_decides_for_the_foreground_in_doubt(probs, wanted):
    rule = CorrectLabels(0.35, 0.6)
    batch = torch.tensor([probs, [1.0, 0.0, 0.0]]).view(2, 3, 1, 1)
    assert rule.predict(batch, dim=1).flatten().tolist() == [wanted, 0]
    assert rule.predict(batch[0]).flatten().tolist() == [wanted]


def test_one_slice_is_an_image_without_a_depth():
    probs, label = example((6, 5))
    rule = CorrectLabels(per_slice=False)
    corrected = rule(probs, label, [1, 2, 3])
    assert torch.equal(corrected, by_hand(rule, probs, label, [1, 2, 3]))
    deep = CorrectLabels(per_slice=True)(probs[..., None], label[..., None], [1, 2, 3])
    assert torch.equal(deep[..., 0], corrected) and not torch.equal(corrected, label)


@pytest.mark.parametrize("options", [{}, {"per_slice": False}, {"ignore_unsure": True}], ids=str)
def test_without_a_class_under_correction_labels_stay(options):
    probs, label = example()
    rule = CorrectLabels(foreground_threshold=0, background_threshold=0, **options)
    assert torch.equal(rule(probs, label, []), label)


@pytest.mark.parametrize("ignore_unsure", [False, True])
@pytest.mark.parametrize("classes", SUBSETS, ids=str)
def test_other_classes_neither_appear_nor_disappear(classes, ignore_unsure):
    rule = CorrectLabels(0.5, 0.5, ignore_unsure=ignore_unsure)
    for seed in range(5):
        probs, label = example(seed=seed)
        corrected = rule(probs, label, classes)
        for k in set(range(1, K)) - set(classes):
            assert torch.equal(corrected == k, label == k)


def test_thresholds_of_1_replace_nothing():
    _, label = example()
    certain = torch.nn.functional.one_hot(torch.randint(0, K, SIZE), K).movedim(-1, 0).float()
    assert not torch.equal(CorrectLabels()(certain, label, [1, 2, 3]), label)
    assert torch.equal(CorrectLabels(1, 1)(certain, label, [1, 2, 3]), label)


@pytest.mark.parametrize(
    ("thresholds", "wanted"), [((1, 0.7), [0, 1, 0]), ((0.7, 1), [1, 1, 1])], ids=["background", "foreground"]
)
def test_each_threshold_releases_its_own_kind_of_prediction(thresholds, wanted):
    probs = torch.tensor([[0.9, 0.5, 0.1], [0.1, 0.5, 0.9]])[..., None, None]
    label = torch.tensor([1, 1, 0])[None, :, None, None]
    assert CorrectLabels(*thresholds)(probs, label, [1]).flatten().tolist() == wanted


def test_a_class_absent_in_the_slice_is_not_introduced_there():
    probs = torch.zeros(K, *SIZE)
    probs[3] = 1
    label = torch.ones(1, *SIZE, dtype=torch.uint8)
    label[0, 0, 0, 1] = 3
    by_slice = CorrectLabels()(probs, label, [1, 2, 3])
    assert (by_slice[..., 1] == 3).all() and (by_slice[..., [0, 2]] == 1).all()
    assert (CorrectLabels(per_slice=False)(probs, label, [1, 2, 3]) == 3).all()


@pytest.mark.parametrize("per_slice", [True, False], ids=["slices", "volume"])
@pytest.mark.parametrize("ignore_unsure", [False, True])
def test_no_correction_brings_a_class_to_an_image_that_lacks_it(per_slice, ignore_unsure):
    rule = CorrectLabels(0, 0, per_slice, ignore_unsure)
    for seed in range(5):
        probs, label = example(seed=seed, values=(0, 1, 3))
        corrected = rule(probs, label, [1, 2, 3])
        assert not (corrected == 2).any()
        assert not per_slice or not (corrected[..., -1] == 3).any()


@pytest.mark.parametrize("ignore_unsure", [False, True])
def test_unlabeled_voxels_stay_unlabeled(ignore_unsure):
    probs, label = example()
    corrected = CorrectLabels(0, 0, ignore_unsure=ignore_unsure)(probs, label, [1, 2, 3])
    assert (label == UNLABELED).any() and (corrected[label == UNLABELED] == UNLABELED).all()


def test_only_doubtful_voxels_that_contradict_their_label_become_unlabeled():
    probs = torch.tensor([[0.6, 0.6, 0.9, 0.4], [0.4, 0.4, 0.1, 0.6]])[..., None, None]
    label = torch.tensor([1, 0, 1, 1])[None, :, None, None]
    corrected = CorrectLabels(ignore_unsure=True)(probs, label, [1])
    assert corrected.flatten().tolist() == [UNLABELED, 0, 0, 1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64], ids=str)
def test_dtype_is_kept_and_nothing_is_changed_in_place(dtype):
    probs, label = example()
    label = label.to(dtype)
    before = probs.clone(), label.clone()
    corrected = CorrectLabels(ignore_unsure=True)(probs, label, {1, 2, 3})
    assert corrected.dtype == dtype and not torch.equal(corrected, label)
    assert torch.equal(probs, before[0]) and torch.equal(label, before[1])


def test_a_second_application_changes_nothing_more():
    probs, label = example()
    rule = CorrectLabels(per_slice=False)
    once = rule(probs, label, [1, 2, 3])
    assert torch.equal(rule(probs, once, [1, 2, 3]), once)


@pytest.mark.parametrize("thresholds", [(-0.1, 0.7), (0.7, -0.1)], ids=str)
def test_a_negative_threshold_is_refused(thresholds):
    with pytest.raises(ValueError, match=rf"Expected thresholds >= 0, got {thresholds[0]} and"):
        CorrectLabels(*thresholds)


@pytest.mark.parametrize("shape", [(1, 5, 4, 2), (2, 5, 4, 3), (5, 4, 3), (1, 1, 5, 4, 3)], ids=str)
def test_says_which_shapes_agree(shape):
    with pytest.raises(ValueError, match=r"label \(1, \*S\) with equal S, got \(4, 5, 4, 3\) and \("):
        CorrectLabels()(torch.zeros(K, *SIZE), torch.zeros(shape, dtype=torch.uint8), [1])
