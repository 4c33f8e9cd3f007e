"""Which bundle learns from what a datalist holds."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from monai_ext.keys import SUPERVISION, Supervision

BUNDLES = {
    Supervision.PARTIAL: "lv_mixed_supervision_segmentation",
    Supervision.NOISY: "noisy_label_segmentation",
    Supervision.TAGS: "brats_weak_cam_segmentation",
}
"""The bundle for each kind of weak labels; all of them take full masks beside these."""


def fitting_kinds(kinds: Collection[Supervision], modalities: Sequence[str]) -> list[Supervision]:
    """Kinds of `BUNDLES` whose bundle learns from a training list; none if it has full masks alone.

    Only the bundle for tags takes several channels, and its second stage learns from noisy masks.

    Args:
        kinds: those of the training items.
        modalities: names of the channels; empty if there is one.
    """
    weak = set(kinds) & set(BUNDLES)
    by_tags = weak & {Supervision.TAGS, Supervision.NOISY}
    if len(modalities) > 1:
        return [Supervision.TAGS] * bool(by_tags or not weak)
    second_stage = modalities and by_tags
    return [kind for kind in BUNDLES if kind in weak or (kind is Supervision.TAGS and second_stage)]


def misfit(training: Sequence[Mapping[str, Any]], modalities: Sequence[str], learns_from: str) -> str | None:
    """Message if another bundle learns from a training list, and this one does not; else None.

    Args:
        training: items.
        modalities: names of the channels; empty if there is one.
        learns_from: the kind of `BUNDLES` by which this bundle is known.
    """
    kinds = {Supervision(item.get(SUPERVISION, Supervision.FULL)) for item in training}
    fitting = fitting_kinds(kinds, modalities)
    if not fitting or Supervision(learns_from) in fitting:
        return None
    got = f"{' and '.join(sorted(kind.value for kind in kinds))} items"
    if len(modalities) > 1:
        got += f" with the channels {', '.join(modalities)}"
    bundles = " or ".join(BUNDLES[kind] for kind in fitting)
    return (
        f'Expected training items of supervision "{Supervision(learns_from).value}" beside full ones, got '
        f"{got}; train the bundle {bundles} on them, or prepare other data."
    )
