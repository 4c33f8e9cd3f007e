"""Crops that are part of the one resampling."""

import pytest
import torch

from monai_ext.keys import IMAGE, LABEL, UNLABELED
from monai_ext.transforms import BatchAugmentation
from monai_ext.transforms.crops import crop_starts

SPACES = pytest.mark.parametrize(
    ("space", "size"), [((20, 17), (8, 6)), ((12, 9, 10), (6, 4, 8))], ids=["2d", "3d"]
)


def batch_of(space, batch=4):
    g = torch.Generator().manual_seed(0)
    return {
        IMAGE: torch.rand(batch, 2, *space, generator=g),
        LABEL: torch.randint(0, 3, (batch, 1, *space), generator=g),
    }


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def window(tensor, start, size):
    where = [slice(int(first), int(first) + length) for first, length in zip(start, size, strict=True)]
    return tensor[(slice(None), *where)]


@SPACES
def test_without_other_changes_a_crop_is_a_part_of_image_and_label(space, size):
    batch, augmentation = batch_of(space), BatchAugmentation(crop_size=size)
    seed = augmentation.draw(4, len(space), generator()).crop_seed
    starts = crop_starts(batch[LABEL], size, augmentation.object_share, augmentation.crop_jitter, seed)
    cropped = augmentation(batch, generator())
    for item, start in enumerate(starts):
        torch.testing.assert_close(
            cropped[IMAGE][item], window(batch[IMAGE][item], start, size), atol=1e-5, rtol=0
        )
        assert torch.equal(cropped[LABEL][item], window(batch[LABEL][item], start, size))


@SPACES
def test_a_crop_of_the_size_of_the_image_changes_nothing(space, size):
    batch, strong = batch_of(space), dict(rotation=30, translation=0.1, noise=0.1)
    whole = BatchAugmentation(**strong, crop_size=space)(batch, generator())
    plain = BatchAugmentation(**strong)(batch, generator())
    assert torch.equal(whole[LABEL], plain[LABEL])
    assert BatchAugmentation(crop_size=space)(batch, generator())[IMAGE] is batch[IMAGE]


def test_crops_lie_inside_of_the_image():
    label = torch.zeros(200, 1, 20, 17)
    label[:, :, 0, 16] = 1
    starts = crop_starts(label, (8, 6), 1.0, 0.5, seed=0)
    assert (starts >= 0).all() and (starts <= torch.tensor([12, 11])).all()


def test_a_smaller_image_lies_in_the_middle_and_outside_is_unlabeled():
    batch = {IMAGE: torch.ones(1, 1, 4, 10), LABEL: torch.ones(1, 1, 4, 10, dtype=torch.long)}
    cropped = BatchAugmentation(crop_size=(8, 6))(batch, generator())
    assert (cropped[LABEL][0, 0, :2] == UNLABELED).all() and (cropped[LABEL][0, 0, 6:] == UNLABELED).all()
    assert (cropped[LABEL][0, 0, 2:6] == 1).all()
    assert (cropped[IMAGE][0, 0, 2:6] > 0.99).all() and (cropped[IMAGE][0, 0, :2] == 0).all()


def classes_in_the_middle(label, share=1.0, number=600):
    """Classes of the voxels around which crops of one voxel lie."""
    many = label.expand(number, *label.shape[1:])
    starts = crop_starts(many, (1,) * (label.ndim - 2), share, 0.0, seed=3).long()
    return torch.stack([many[i, 0][tuple(start)] for i, start in enumerate(starts)])


def test_every_known_class_has_as_many_crops_however_small_it_is():
    label = torch.full((1, 1, 30, 30), UNLABELED)
    label[0, 0, :15] = 1
    label[0, 0, 20, 3] = 2
    label[0, 0, 25:] = 0  # background takes no part where an object is known
    found = classes_in_the_middle(label)
    assert set(found.tolist()) == {1, 2}
    assert 250 < (found == 2).sum() < 350


def test_where_nothing_is_known_a_crop_lies_anywhere():
    label = torch.full((300, 1, 20, 20), UNLABELED)
    starts = crop_starts(label, (4, 4), 1.0, 0.0, seed=0)
    assert len(starts.unique(dim=0)) > 100


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_crops_around_objects_is_the_one_asked_for(share):
    label = torch.zeros(1, 1, 40, 40)
    label[0, 0, 7, 9] = 1
    around = (classes_in_the_middle(label, share) == 1).float().mean()
    assert around == pytest.approx(share, abs=0.06)


def test_the_voxel_is_at_most_the_jitter_away_from_the_middle():
    label = torch.zeros(300, 1, 60, 60)
    label[:, :, 30, 30] = 1
    middles = crop_starts(label, (20, 10), 1.0, 0.2, seed=1) + torch.tensor([10.0, 5.0])
    distance = (middles - 30).abs()
    assert (distance[:, 0] <= 4.5).all() and (distance[:, 1] <= 2.5).all()
    assert distance[:, 0].max() > 3


def test_another_seed_gives_other_crops_and_the_same_seed_the_same():
    label = torch.randint(0, 3, (4, 1, 30, 30), generator=generator())
    first = crop_starts(label, (8, 8), 0.5, 0.25, seed=5)
    assert torch.equal(first, crop_starts(label, (8, 8), 0.5, 0.25, seed=5))
    assert not torch.equal(first, crop_starts(label, (8, 8), 0.5, 0.25, seed=6))


def test_a_rotated_crop_keeps_its_scale():
    """A turn by 90 degrees of a square crop is the turned window, although the image is not square."""
    batch = batch_of((20, 14), batch=1)
    augmentation = BatchAugmentation(crop_size=(6, 6))
    drawn = augmentation.draw(1, 2, generator())
    start = crop_starts(batch[LABEL], (6, 6), 2 / 3, 0.25, drawn.crop_seed)[0]
    drawn.affine = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]])
    _, label = augmentation.move(batch[IMAGE], batch[LABEL], drawn)
    wanted = window(batch[LABEL][0], start, (6, 6))
    assert any(torch.equal(label[0], wanted.rot90(k, (1, 2))) for k in (1, 3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"object_share": 1.5}, "object_share <= 1, got 1.5"),
        ({"crop_jitter": 0.6}, "crop_jitter <= 0.5, got 0.6"),
    ],
)
def test_shares_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        BatchAugmentation(**wrong)
