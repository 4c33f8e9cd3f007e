import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch.nn.functional import interpolate

from monai_ext.keys import LABEL, UNLABELED
from monai_ext.transforms.label_resize import ResizeLabelSlicesd, resize_label

U = UNLABELED


def by_hand(label, size, num_classes):
    """The rule for marks as written, where both axes shrink: loops over old and new pixels."""
    counts = np.zeros((*size, num_classes), dtype=int)
    for r in np.ndindex(label.shape):
        if label[r] != U:
            center = [(2 * i + 1) * new / (2 * old) for i, old, new in zip(r, label.shape, size, strict=True)]
            counts[(*map(math.floor, center), label[r])] += 1
    return np.array([[c.argmax() if c.any() else U for c in row] for row in counts])


@pytest.mark.parametrize("size", [(6, 9), (4, 6), (12, 5), (7, 11), (1, 1)], ids=str)
def test_marks_equal_the_written_majority(size):
    label = np.random.default_rng(0).choice([0, 1, 2, U, U, U, U], (12, 18))
    resized = resize_label(torch.tensor(label)[None], size, 3)
    np.testing.assert_array_equal(resized[0], by_hand(label, size, 3))


def random_blob(size, seed):
    """A smooth random shape that covers about 40 % of a complete map."""
    g = torch.Generator().manual_seed(seed)
    height = interpolate(torch.rand(1, 1, 7, 7, generator=g), size=size, mode="bicubic")[0]
    return (height > height.quantile(0.6)).long()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("old", "new"), [(216, 128), (128, 200)], ids=str)
def test_a_complete_map_keeps_the_area_of_a_blob(old, new, seed):
    blob = random_blob((old, old), seed)
    resized = resize_label(blob, (new, new), 2)
    assert set(resized.unique().tolist()) == {0, 1}
    assert resized.double().mean().item() == pytest.approx(blob.double().mean().item(), rel=0.01)


def test_a_complete_map_takes_the_class_with_the_largest_share():
    label = torch.tensor([[[1, 2, 0, 1], [2, 2, 0, 0], [1, 1, 2, 0], [1, 0, 2, 2]]])
    shares = [(label == k).double()[:, None] for k in range(3)]
    shares = [interpolate(share, size=(3, 3), mode="bilinear", antialias=True) for share in shares]
    assert torch.equal(resize_label(label, (3, 3), 3), torch.stack(shares).argmax(dim=0)[:, 0])


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_of_equal_shares_the_lower_class_wins(order):
    assert resize_label(torch.tensor([[[*order], [*order]]]), (1, 1), 3).item() == 1


@pytest.mark.parametrize("seed", range(3))
def test_shrinking_never_adds_marks(seed):
    marks = torch.tensor(
        np.random.default_rng(seed).choice([0, 1, 2, U], (2, 216, 256), p=[0.02, 0.2, 0.01, 0.77])
    )
    resized = resize_label(marks, (128, 128), 3)
    for before, after in zip(marks, resized, strict=True):
        assert 0 < (after != U).sum() < (before != U).sum()
    for k in range(3):
        assert 0 < (resized == k).sum() <= (marks == k).sum()


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_mark_keeps_its_class_and_its_place(kind):
    for y, x in [(0, 0), (215, 255), (107, 128), (100, 33)]:
        marks = torch.full((1, 216, 256), U)
        marks[0, y, x] = kind
        resized = resize_label(marks, (128, 128), 3)[0]
        place = (int((y + 0.5) * 128 / 216), int((x + 0.5) * 128 / 256))
        assert (resized != U).nonzero().tolist() == [list(place)] and resized[place] == kind


def test_complete_and_partial_maps_of_a_batch_follow_their_own_rules():
    complete = random_blob((24, 20), seed=0)
    partial = complete.clone()
    partial[0, 0, 0] = U  # one pixel is enough to be told apart
    both = resize_label(torch.cat([partial, complete, partial]), (10, 9), 2)
    assert torch.equal(both[1:2], resize_label(complete, (10, 9), 2))
    for i in (0, 2):
        np.testing.assert_array_equal(both[i], by_hand(partial[0].numpy(), (10, 9), 2))
    assert not torch.equal(both[0], both[1])


@pytest.mark.parametrize("size", [(7, 11), (10, 9)], ids=str)
def test_growing_repeats_marks_as_nearest_neighbor_does(size):
    marks = torch.full((1, 5, 4), U)
    marks[0, 1, 2], marks[0, 4, 0] = 1, 2
    y, x = (((torch.arange(new) + 0.5) * old / new).long() for new, old in zip(size, (5, 4), strict=True))
    assert torch.equal(resize_label(marks, size, 3), marks[:, y][:, :, x])


def test_an_axis_may_grow_while_the_other_shrinks():
    marks = torch.tensor([[[1, U, U, 2]]])
    assert resize_label(marks, (2, 2), 3).tolist() == [[[1, 2], [1, 2]]]


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
def test_a_whole_enlargement_of_marks_equals_nearest_neighbor(factors):
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
