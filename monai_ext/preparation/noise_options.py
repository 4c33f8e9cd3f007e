"""The options ``--noise ...`` of the prepare scripts: which noise, whose labels get it, what it comes to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from monai_ext.errors import InputError
from monai_ext.images.files import read_volume
from monai_ext.keys import LABEL, PATIENT, REFERENCE, SUPERVISION, Supervision
from monai_ext.preparation.subsets import nested_subset
from monai_ext.transforms.label_noise import PRESETS, LabelNoise, realized_iou


class NoiseOptions(NamedTuple):
    """Label noise as asked for on a command line."""

    noises: tuple[LabelNoise, ...] = ()
    """Applied one after the other; empty if no noise is asked for."""
    share: float = 1.0
    """Share of the patients whose labels are corrupted, in 0..1."""

    def choose(self, patients: Collection[str], seed: int) -> frozenset[str]:
        """Patients whose labels are corrupted; a smaller share is a subset of a larger one.

        Args:
            patients: those whose labels may be corrupted.
            seed: >= 0.

        Raises:
            InputError: there is noise, but no patient that could get it.
        """
        if self.noises and not patients:
            raise InputError(
                "Expected training patients left for --noise, got none; choose a smaller --full."
            )
        count = round(self.share * len(patients)) if self.noises else 0
        return frozenset(nested_subset(patients, count, seed))

    def describe(self, corrupted: Collection[str]) -> str:
        """Say what was done to whose labels, in a form from which it can be done again.

        Args:
            corrupted: the patients that were chosen.
        """
        noises = ", then ".join(map(str, self.noises))
        return (
            f"{noises}; labels of {len(corrupted)} patients corrupted: {', '.join(sorted(corrupted)) or '-'}"
        )


NO_NOISE = NoiseOptions()


def noise_options(
    names: Sequence[str] | None,
    strength: tuple[int, int] | None = None,
    under_share: float | None = None,
    share: float = 1.0,
) -> NoiseOptions:
    """Understand ``--noise``, ``--noise-k``, ``--noise-under`` and ``--noise-share``.

    Args:
        names: of :data:`monai_ext.transforms.label_noise.PRESETS`; None or empty: no noise.
        strength: replaces that of the presets which have one.
        under_share: replaces that of the presets which erode and dilate.
        share: of the patients, in 0..1.

    Raises:
        InputError: a name is unknown, a value is outside its range or nothing uses it; the message names the
            option.
    """
    names = names or ()
    if unknown := [name for name in names if name not in PRESETS]:
        raise InputError(f"Expected --noise one of {', '.join(PRESETS)}, got {', '.join(unknown)}.")
    if not 0 <= share <= 1:
        raise InputError(f"Expected --noise-share in 0..1, got {share}.")
    noises = [PRESETS[name] for name in names]
    kinds = {noise.kind for noise in noises}
    for option, value, users in (
        ("--noise-k", strength, kinds - {"swapped"}),
        ("--noise-under", under_share, kinds & {"size"}),
        ("--noise-share", None if share == 1 else share, kinds),
    ):
        if value is not None and not users:
            raise InputError(
                f"Expected a --noise that uses {option}, got {', '.join(names) or 'none'}; leave it out."
            )
    try:
        return NoiseOptions(tuple(_adjusted(noise, strength, under_share) for noise in noises), share)
    except ValueError as error:
        raise InputError(f"--noise-k, --noise-under: {error}") from None


def _adjusted(noise: LabelNoise, strength: tuple[int, int] | None, under_share: float | None) -> LabelNoise:
    if strength is not None and noise.kind != "swapped":
        noise = replace(noise, strength=strength)
    if under_share is not None and noise.kind == "size":
        noise = replace(noise, under_share=under_share)
    return noise


def noise_report(
    items: Iterable[Mapping[str, Any]], folder: Path, labels: Mapping[int, str], corrupted: Collection[str]
) -> str:
    """Say how far noisy labels are from the clean ones: IoU of each class over all voxels.

    Args:
        items: of a datalist; those with supervision "noisy" name a label and a reference.
        folder: where their paths start.
        labels: name of each class from 0 (background) up.
        corrupted: patients whose labels were changed.

    Returns:
        A line for the cases of these patients, one for all noisy cases if there are others; empty if no item
        is noisy.
    """
    noisy = [item for item in items if item[SUPERVISION] == Supervision.NOISY.value]
    changed = [item for item in noisy if item[PATIENT] in corrupted]
    groups = [("corrupted", changed)] if changed else []
    if len(changed) < len(noisy):
        groups.append(("noisy", noisy))
    classes = [k for k in labels if k > 0]
    lines = []
    for what, group in groups:
        pairs = ([read_volume(folder / item[key]).array for key in (LABEL, REFERENCE)] for item in group)
        iou = realized_iou(((label, clean) for label, clean in pairs), classes)
        found = {labels[k]: value for k, value in iou.items() if not np.isnan(value)}
        found |= {"mean": float(np.mean(list(found.values())))} if found else {}
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        lines.append(f"IoU of noisy with clean labels in {len(group)} {what} cases: {scores or 'no voxel'}")
    return "\n".join(lines)
