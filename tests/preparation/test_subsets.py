import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ext.preparation.subsets import nested_subset, split_patients

names = st.lists(st.text("abc123", min_size=1, max_size=4), min_size=3, max_size=30, unique=True)
seeds = st.integers(0, 1000)


@given(names, seeds, st.data())
@settings(deadline=None)
def test_subsets_are_nested_and_ignore_the_order_of_names(patients, seed, data):
    few = data.draw(st.integers(0, len(patients)))
    many = data.draw(st.integers(few, len(patients)))
    larger = nested_subset(patients, many, seed)
    assert nested_subset(reversed(patients), few, seed) == larger[:few]
    assert len(set(larger)) == many and set(larger) <= set(patients)


def test_another_seed_draws_another_subset():
    patients = [f"patient{i:03d}" for i in range(70)]
    assert len({tuple(nested_subset(patients, 3, seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize("count", [-1, 3])
def test_a_subset_larger_than_the_whole_is_refused(count):
    with pytest.raises(ValueError, match=rf"in 0\.\.2, got {count}"):
        nested_subset(["a", "b"], count, 0)


@given(names, st.lists(st.integers(0, 90), min_size=2, max_size=3).filter(any), seeds)
@settings(deadline=None)
def test_a_split_is_disjoint_complete_and_close_to_the_shares(patients, fractions, seed):
    parts = split_patients(patients, fractions, seed)
    assert sorted(name for part in parts.values() for name in part) == sorted(patients)
    for part, share in zip(parts.values(), fractions, strict=False):
        assert bool(part) == (share > 0)
        assert abs(len(part) - share / sum(fractions) * len(patients)) < 2
    assert split_patients(patients[::-1], [f / 100 for f in fractions], seed) == parts


def test_a_split_has_the_sizes_asked_for():
    parts = split_patients([f"p{i}" for i in range(50)], (70, 10, 20), seed=1)
    assert {k: len(v) for k, v in parts.items()} == {"training": 35, "validation": 5, "test": 10}


@pytest.mark.parametrize(
    ("patients", "fractions", "message"),
    [
        ("ab", (1,), "two or three shares"),
        ("ab", (1, -1), "shares >= 0"),
        ("ab", (1, 1, 1), "at least 3 patients"),
    ],
)
def test_an_impossible_split_is_refused(patients, fractions, message):
    with pytest.raises(ValueError, match=message):
        split_patients(patients, fractions, 0)
