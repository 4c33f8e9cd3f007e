"""Seeded choices among patients: a subset, and a split into training, validation and test."""

from collections.abc import Iterable, Sequence

import numpy as np

from monai_ext.datalist.format import SECTIONS
from monai_ext.errors import InputError


def nested_subset(patients: Iterable[str], count: int, seed: int) -> list[str]:
    """First ``count`` names of a seeded permutation: a smaller subset is the beginning of a larger one.

    Args:
        patients: names in any order; duplicates count once.
        count: size of the subset, from 0 to the number of names.
        seed: >= 0.

    Raises:
        InputError: there are fewer than ``count`` names.
    """
    names = sorted(set(patients))
    if not 0 <= count <= len(names):
        raise InputError(
            f"Expected a number of patients in 0..{len(names)}, got {count}; choose a smaller one."
        )
    return [names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]]


def split_patients(patients: Iterable[str], fractions: Sequence[float], seed: int) -> dict[str, list[str]]:
    """Seeded split of patients into training, validation and test.

    Args:
        patients: names in any order; duplicates count once.
        fractions: two or three shares >= 0 in this order, in any unit (70, 10, 20 or 0.7, 0.1, 0.2); a share
            above 0 gets at least one patient.
        seed: >= 0.

    Returns:
        Sorted names of ``training``, ``validation`` and ``test``, disjoint and together all of them.

    Raises:
        InputError: the shares are not as described, or there are fewer patients than shares above 0.
    """
    if not 2 <= len(fractions) <= 3 or min(fractions) < 0 or not 0 < sum(fractions) < float("inf"):
        raise InputError(f"Expected two or three shares >= 0 such as 70, 10, 20, got {tuple(fractions)}.")
    names = sorted(set(patients))
    shares = np.array([*fractions, 0][:3], dtype=float) / sum(fractions)
    wanted = np.round(shares * len(names), 9)  # 30:66 and 0.30:0.66 give the same split
    least = (wanted > 0).astype(int)
    if least.sum() > len(names):
        raise InputError(
            f"Expected at least {least.sum()} patients, one a list, got {len(names)}; ask for fewer lists."
        )
    counts = np.maximum(np.floor(wanted).astype(int), least)
    while counts.sum() != len(names):
        lacking = counts.sum() < len(names)
        surplus = np.where(lacking | (counts > least), counts - wanted, -np.inf)
        counts[surplus.argmin() if lacking else surplus.argmax()] += 1 if lacking else -1
    parts = np.split(nested_subset(names, len(names), seed), np.cumsum(counts)[:2])
    return {section: sorted(map(str, part)) for section, part in zip(SECTIONS, parts, strict=True)}
