import pytest

from monai_ext.datalist.fit import BUNDLES, misfit
from monai_ext.keys import Supervision

LV, NOISY, BRATS = BUNDLES.values()
MODALITIES = ["t1", "flair"]


def training(*kinds):
    return [{"supervision": kind} for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "modalities", "learns_from", "fits"),
    [
        (["full", "noisy"], [], "partial", NOISY),
        (["partial"], [], "noisy", LV),
        (["tags"], MODALITIES, "partial", BRATS),
        (["full", "full"], MODALITIES, "noisy", BRATS),
        (["noisy", "partial"], [], "tags", f"{LV} or {NOISY}"),
    ],
)
def test_another_bundle_is_named(kinds, modalities, learns_from, fits):
    message = misfit(training(*kinds), modalities, learns_from)
    assert f'supervision "{learns_from}"' in message and f"train the bundle {fits} on them" in message


@pytest.mark.parametrize(
    ("kinds", "modalities", "learns_from"),
    [
        (["full", "partial"], [], "partial"),
        (["partial", "noisy", "none"], [], "noisy"),
        (["full", "none"], [], "partial"),  # full masks alone are everybody's
        (["full"], [], "noisy"),
        (["tags", "full"], MODALITIES, "tags"),
        (["noisy", "full"], MODALITIES, "tags"),  # the second stage
        (["noisy"], ["flair"], "tags"),
        (["noisy"], ["MR"], "noisy"),
        ([], [], "tags"),
    ],
)
def test_data_that_fit_are_let_through(kinds, modalities, learns_from):
    assert misfit(training(*kinds), modalities, learns_from) is None


def test_an_item_without_a_kind_is_full():
    assert misfit([{}, {"supervision": Supervision.PARTIAL}], [], "partial") is None
