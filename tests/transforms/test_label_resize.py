import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch.nn.functional import interpolate

from monai_ext.keys import LABEL, UNLABELED
from monai_ext.transforms.label_resize import ResizeLabelSlicesd, resize_label

U = UNLABELED


def by_hand(label, factor, num_classes):
    """The majority as written, for sizes that the factor divides: loops over new pixels and classes."""
    small = np.full([n // factor for n in label.shape], U)
    for r in np.ndindex(small.shape):
        block = label[tuple(slice(i * factor, (i + 1) * factor) for i in r)]
        counts = [(block == k).sum() for k in range(num_classes)]
        if max(counts):
            small[r] = counts.index(max(counts))
    return small


@pytest.mark.parametrize("factor", [2, 3])
def test_equals_the_written_majority(factor):
    label = np.random.default_rng(0).choice([0, 1, 2, U, U, U, U], (12, 18))
    resized = resize_label(torch.tensor(label)[None], (12 // factor, 18 // factor), 3)
    np.testing.assert_array_equal(resized[0], by_hand(label, factor, 3))


@pytest.mark.parametrize("size", [(8, 8), (5, 7)], ids=str)
def test_a_single_mark_survives_wherever_it_lies(size):
    marks = torch.full((256, 16, 16), U)
    marks.view(256, 256).fill_diagonal_(2)
    resized = resize_label(marks, size, 3)
    assert ((resized == 2).flatten(1).sum(dim=1) >= 1).all() and set(resized.unique().tolist()) == {2, U}


def test_the_majority_of_the_labeled_pixels_wins():
    label = torch.tensor([[[1, 2, U, 1], [2, U, U, U]]])
    assert resize_label(label, (1, 2), 3).tolist() == [[[2, 1]]]


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_equal_counts_the_lower_class_wins(order):
    label = torch.tensor([[[*order], [U, U]]])
    assert resize_label(label, (1, 1), 3).item() == 1


@pytest.mark.parametrize("size", [(3, 3), (12, 12), (7, 4)], ids=str)
def test_an_unlabeled_map_stays_unlabeled(size):
    assert (resize_label(torch.full((2, 6, 6), U), size, 4) == U).all()


@pytest.mark.parametrize("factors", [(1, 1), (2, 3)], ids=str)
def test_a_whole_enlargement_equals_nearest_neighbor(factors):
    label = torch.tensor(np.random.default_rng(1).choice([0, 1, 2, U], (2, 5, 4)))
    size = [n * f for n, f in zip(label.shape[1:], factors, strict=True)]
    expected = interpolate(label[:, None].double(), size=size, mode="nearest")[:, 0]
    assert torch.equal(resize_label(label, size, 3), expected.long())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32], ids=str)
def test_dtype_is_kept(dtype):
    resized = resize_label(torch.full((1, 4, 4), U, dtype=dtype), (2, 2), 2)
    assert resized.dtype == dtype and (resized == U).all()


@pytest.mark.parametrize("kind", [torch.as_tensor, MetaTensor, np.asarray], ids=["tensor", "meta", "numpy"])
def test_the_transform_resizes_each_slice_of_a_volume(kind):
    volume = torch.tensor(np.random.default_rng(2).choice([0, 1, U], (1, 8, 6, 3))).to(torch.uint8)
    before = volume.clone()
    item = {LABEL: kind(volume), "other": 1}
    result = ResizeLabelSlicesd(LABEL, (4, 3), num_classes=2)(item)
    for z in range(3):
        expected = resize_label(volume[..., z], (4, 3), 2)
        assert torch.equal(result[LABEL][..., z], expected)
    assert type(result[LABEL]) is torch.Tensor and result[LABEL].dtype == torch.uint8
    assert result["other"] == 1 and torch.equal(torch.as_tensor(item[LABEL]), before)


def test_an_item_without_label_passes_if_that_is_allowed():
    assert ResizeLabelSlicesd(LABEL, (4, 4), 2, allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError, match=LABEL):
        ResizeLabelSlicesd(LABEL, (4, 4), 2)({"image": 1})
