"""The IoU that is reported of noisy labels, against another library."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_jaccard_index

from monai_ext.keys import UNLABELED
from monai_ext.transforms.label_noise import realized_iou


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_realized_iou_is_the_jaccard_index_of_all_voxels(seed):
    rng = np.random.default_rng(seed)
    pairs = [rng.integers(0, 4, (2, 5, 6, n)) for n in (1, 3)]
    for _, clean in pairs:
        clean[0] = UNLABELED
    noisy, clean = (torch.from_numpy(np.concatenate([pair[i].ravel() for pair in pairs])) for i in (0, 1))
    expected = multiclass_jaccard_index(noisy, clean, num_classes=4, average="none", ignore_index=UNLABELED)
    found = realized_iou(((noisy, clean) for noisy, clean in pairs), [1, 2, 3])
    assert list(found) == [1, 2, 3]
    np.testing.assert_allclose(list(found.values()), expected[1:], rtol=1e-6)


def test_iou_of_a_class_without_a_voxel_is_not_a_number():
    zeros = np.zeros((2, 2, 1), dtype=np.uint8)
    assert math.isnan(realized_iou([(zeros, zeros)], [1])[1])
    assert realized_iou([(zeros, zeros + 1)], [1]) == {1: 0}


def test_iou_of_labels_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match=r"labels of one shape, got \(2,\) and \(3,\)"):
        realized_iou([(np.zeros(2), np.zeros(3))], [1])
