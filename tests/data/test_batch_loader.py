import itertools
import logging
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ext.data.batch_loader import (
    BatchLoader,
    image_and_tags,
    labels_with_supervision,
    shares_of_batch,
)
from monai_ext.data.device_cache import DeviceCache
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, TAGS, Supervision

KINDS = [kind.value for kind in Supervision]
PRESENT = st.dictionaries(st.sampled_from(KINDS), st.integers(1, 50), min_size=1)
WEIGHTS = st.dictionaries(st.sampled_from(KINDS), st.floats(0, 10), min_size=1)


def dataset(**numbers):
    """Volumes of one 1 x 1 slice whose value is the entry's position; so many of each kind."""
    kinds = [kind for kind, n in numbers.items() for _ in range(n)]
    data = [
        {IMAGE: torch.full((1, 1, 1, 1), float(i)), LABEL: torch.zeros(1, 1, 1, 1), SUPERVISION: kind}
        for i, kind in enumerate(kinds)
    ]
    return DeviceCache(data, lambda item: item, progress=False)


def drawn(loader):
    """Entries of each batch of an epoch."""
    return [batch[IMAGE].flatten().int().tolist() for batch in loader]


@given(st.integers(1, 64), WEIGHTS, PRESENT)
@settings(max_examples=100, deadline=None)
def test_shares_fill_the_batch_with_kinds_that_are_there(batch_size, weights, present):
    shares = shares_of_batch(batch_size, weights, present)
    assert sum(shares.values()) == batch_size
    assert set(shares) <= set(present) and min(shares.values()) > 0
    usable = {kind: w for kind, w in weights.items() if w > 0 and kind in present}
    if usable:
        assert set(shares) <= set(usable)
        for kind, w in usable.items():  # largest remainder: less than one item from the exact share
            assert abs(shares.get(kind, 0) - batch_size * w / sum(usable.values())) < 1


@pytest.mark.parametrize(
    ("batch_size", "weights", "present", "shares"),
    [
        (8, {"full": 1, "partial": 1}, {"full": 2, "partial": 90}, {"full": 4, "partial": 4}),
        (4, {"full": 1, "partial": 2}, {"full": 5, "partial": 5}, {"full": 1, "partial": 3}),
        (8, {"full": 1, "partial": 1}, {"full": 5}, {"full": 8}),
        (8, {"full": 2, "partial": 4, "none": 2}, {"full": 5, "none": 1}, {"full": 4, "none": 4}),
        (4, {"partial": 1}, {"full": 30, "none": 10}, {"full": 3, "none": 1}),
        (1, {"full": 1, "partial": 3}, {"full": 5, "partial": 5}, {"partial": 1}),
        (4, {"full": 1, "partial": 0}, {"full": 5, "partial": 5}, {"full": 4}),
    ],
)
def test_shares_in_cases_that_can_be_done_by_head(batch_size, weights, present, shares):
    assert shares_of_batch(batch_size, weights, present) == shares


def test_every_batch_has_the_mixture():
    loader = BatchLoader(
        dataset(full=2, partial=9, none=4), 6, {"full": 1, "partial": 2}, batches_per_epoch=5
    )
    batches = list(loader)
    assert len(loader) == len(batches) == 5
    for batch in batches:
        codes = Counter(batch[SUPERVISION].tolist())
        assert codes == {Supervision.FULL.code: 2, Supervision.PARTIAL.code: 4}


def test_a_kind_is_drawn_through_before_an_entry_comes_again():
    loader = BatchLoader(dataset(full=3, partial=7), 4, {"full": 1, "partial": 1}, batches_per_epoch=21)
    entries = [i for batch in drawn(loader) for i in batch]
    for members in (range(3), range(3, 10)):
        stream = [i for i in entries if i in members]
        passes = [stream[i : i + len(members)] for i in range(0, len(stream), len(members))]
        assert len(passes) == 42 // len(members) and all(sorted(p) == list(members) for p in passes)
        assert len(set(map(tuple, passes))) > 1  # each pass in another order


def test_without_mixture_an_epoch_is_once_through_the_set():
    loader = BatchLoader(dataset(full=5, none=3), 4)
    assert len(loader) == 2
    assert sorted(i for batch in drawn(loader) for i in batch) == list(range(8))
    assert len(BatchLoader(dataset(full=9), 4)) == 3


def test_batches_depend_only_on_seed_and_epoch():
    data = dataset(full=10, partial=10)

    def epoch_of(seed, epoch):
        loader = BatchLoader(data, 4, {"full": 1, "partial": 1}, seed=seed)
        loader.epoch = epoch
        return drawn(loader)

    second = epoch_of(0, 2)
    assert second == epoch_of(0, 2)
    assert second not in (epoch_of(0, 1), epoch_of(1, 2), epoch_of(2, 0))


@pytest.mark.parametrize("part", ["seed", "epoch", "rank"])
def test_another_seed_epoch_or_process_draws_other_entries_and_other_numbers(part, monkeypatch):
    def draw(seed=0, epoch=1, rank=0):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
        noise = []
        loader = BatchLoader(
            data,
            4,
            seed=seed,
            augmentation=lambda batch, g: noise.append(torch.rand(3, generator=g).tolist()) or batch,
        )
        loader.epoch = epoch
        return drawn(loader), noise

    data = dataset(full=20)
    several = [draw(**{part: number}) for number in range(1, 5)]
    assert several == [draw(**{part: number}) for number in range(1, 5)]
    for pair in itertools.combinations(several, 2):
        (entries, noise), (other_entries, other_noise) = pair
        assert entries != other_entries and noise[0] != other_noise[0]


def test_iterating_again_gives_the_epoch_again_until_it_is_advanced():
    loader = BatchLoader(dataset(full=12), 3)
    first = drawn(loader)
    torch.rand(7)  # the global random state has no part in it
    assert drawn(loader) == first
    loader.epoch += 1
    assert drawn(loader) != first


def test_the_augmentation_gets_each_batch_and_a_generator_of_the_epoch():
    def add_noise(batch, generator):
        return batch | {IMAGE: batch[IMAGE] + torch.rand(batch[IMAGE].shape, generator=generator)}

    loader = BatchLoader(dataset(full=6), 2, augmentation=add_noise)
    first, again = ([batch[IMAGE] for batch in loader] for _ in range(2))
    noise = [image % 1 for image in first]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(noise[0], noise[1])


def test_a_set_of_full_masks_alone_can_be_used(caplog):
    caplog.set_level(logging.INFO)
    loader = BatchLoader(dataset(full=3), 4, {"full": 1, "partial": 1})
    assert all(len(batch) == 4 for batch in drawn(loader))
    assert "batches of 4 hold {'full': 4}: the training list has no ['partial']" in caplog.text
    assert "not drawn" not in caplog.text


def test_the_log_names_kinds_that_are_not_drawn(caplog):
    caplog.set_level(logging.INFO)
    BatchLoader(dataset(full=3, none=2), 4, {"full": 1})
    assert "batches of 4 hold {'full': 4}: entries of kind ['none'] are not drawn" in caplog.text


@pytest.mark.parametrize("mixture", [None, {"full": 1, "none": 1}], ids=["none", "all"])
def test_the_log_is_silent_if_all_is_drawn_as_asked(mixture, caplog):
    caplog.set_level(logging.INFO)
    data = dataset(full=3, none=2)
    caplog.clear()
    BatchLoader(data, 4, mixture)
    assert not caplog.records


def test_a_mixture_may_be_named_by_the_enumeration():
    loader = BatchLoader(dataset(full=3, none=2), 4, {Supervision.FULL: 1, Supervision.NONE: 3})
    assert loader.shares == {"full": 1, "none": 3}


def tagged(*tags, full=0):
    """Volumes of one 1 x 1 slice with two tags each, then some with a full mask and no tags."""
    data = [{SUPERVISION: "tags", TAGS: [[a], [b]]} for a, b in tags] + [{SUPERVISION: "full"}] * full
    volume = torch.zeros(1, 1, 1, 1)
    data = [item | {IMAGE: volume + i, LABEL: volume} for i, item in enumerate(data)]
    return DeviceCache(data, lambda item: item, progress=False)


def test_half_of_a_batch_is_positive_if_the_mixture_says_so():
    data = tagged((0, 0), (0, 1), (0, 0), (1, 0), (0, 0), (1, 1), full=2)
    batches = drawn(BatchLoader(data, 4, {"positive": 1, "negative": 1}, batches_per_epoch=6))
    for batch in batches:
        assert [i % 2 for i in batch] == [1, 1, 0, 0]
    assert {i for batch in batches for i in batch} == set(range(6))


def test_tags_and_kinds_can_be_mixed():
    data = tagged((0, 0), (0, 1), full=2)
    loader = BatchLoader(data, 6, {"full": 1, "positive": 1, "negative": 1})
    assert loader.shares == {"full": 2, "positive": 2, "negative": 2}


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ([(0, 0), (1, 0)], "['full'] are not drawn"),
        ([(1, 1)], "has no ['negative'], and entries of kind ['full'] are"),
        ([(0, 0)], "has no ['positive'], and entries of kind ['full'] are"),
    ],
)
def test_the_log_says_which_tags_there_are_not(tags, message, caplog):
    caplog.set_level(logging.INFO)
    BatchLoader(tagged(*tags, full=1), 4, {"positive": 1, "negative": 1})
    assert message in caplog.text and "'tags'" not in caplog.text


def test_without_tags_all_kinds_share_the_batch():
    loader = BatchLoader(dataset(full=3, none=1), 4, {"positive": 1, "negative": 1})
    assert loader.shares == {"full": 3, "none": 1}


@pytest.mark.parametrize("batch_size", [0, -2])
def test_says_what_a_batch_size_is(batch_size):
    with pytest.raises(ValueError, match=f"Expected batch_size >= 1, got {batch_size}"):
        BatchLoader(dataset(full=3), batch_size)


def test_says_which_kinds_exist():
    with pytest.raises(ValueError, match=r"Expected a mixture of \['full', .*'negative'\], got \['weak'\]"):
        BatchLoader(dataset(full=3), 2, {"full": 1, "weak": 1})


def test_the_target_holds_label_and_supervision():
    batch = next(iter(BatchLoader(dataset(full=3, none=2), 4, {"full": 1, "none": 1})))
    image, target = labels_with_supervision(batch, "cpu", non_blocking=True, dtype=torch.float64)
    assert image.dtype == torch.float64 and torch.equal(image, batch[IMAGE].double())
    assert target.keys() == {LABEL, SUPERVISION}
    assert all(torch.equal(target[key], batch[key]) and target[key].dtype == torch.int64 for key in target)


def test_the_target_may_be_the_tags():
    batch = next(iter(BatchLoader(tagged((0, 1), (1, 0), full=1), 3)))
    image, tags = image_and_tags(batch, "cpu", non_blocking=True, dtype=torch.float64)
    assert image.dtype == torch.float64 and torch.equal(image, batch[IMAGE].double())
    assert tags.dtype == torch.int64 and torch.equal(tags, batch[TAGS])
    known = {0: [0, 1], 1: [1, 0], 2: [255, 255]}
    assert tags.tolist() == [known[int(entry)] for entry in image.flatten()]


def test_tags_of_volumes_stay_lists_of_their_slices():
    batch = {IMAGE: torch.rand(1, 2, 4, 4, 3), TAGS: torch.tensor([[[0, 1, 255]]])}
    image, tags = image_and_tags(batch)
    assert torch.equal(image, batch[IMAGE]) and tags.tolist() == [[[0, 1, 255]]]
