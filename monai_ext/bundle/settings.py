"""Settings of a config that must fit each other, checked before they end a run late and elsewhere."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from monai_ext.errors import InputError
from monai_ext.keys import MODALITIES

WEIGHTS, EDGES, THRESHOLD = "weights_of_modalities", "edges", "threshold"
"""Ids of a config, beside ``modalities``."""


def stop_if_unfit(settings: Mapping[str, Any]) -> None:
    """Refuse settings that are impossible or do not fit ``modalities``.

    Args:
        settings: values by id, each where the config has it: ``modalities``, different names;
            ``weights_of_modalities``, a number >= 0 for each, one of them above 0, or None; ``edges``, the
            position of one of them; ``threshold``, in (0, 1].

    Raises:
        InputError: with one line for each.
    """
    if problems := [*_problems_of_modalities(settings), *_problems_of_threshold(settings)]:
        raise InputError("\n".join(problems))


def order_doubt(settings: Mapping[str, Any], channels: Mapping[str, str]) -> str | None:
    """A warning where ``modalities`` are as many as the channels of the shipped weights, but others.

    Args:
        settings: values by id.
        channels: names of the channels by number, as the metadata of the bundle have them.
    """
    names, shipped = list(settings.get(MODALITIES, [])), [channels[key] for key in sorted(channels, key=int)]
    same = [name.lower() for name in names] == [name.lower() for name in shipped]
    if not names or same or len(names) != len(shipped):
        return None
    return (
        f"modalities are {', '.join(names)}, but the weights that the bundle ships were trained with "
        f"{', '.join(shipped)} (metadata.json): the order counts; weights of your own training are fine if "
        "it had the same list"
    )


def options_beside_modalities(settings: Mapping[str, Any]) -> str:
    """The options that change with ``--modalities``, in words that go behind it."""
    options = " and ".join(f"--{name}" for name in (WEIGHTS, EDGES) if name in settings)
    return f", with {options} to match" if options else ""


def _problems_of_modalities(settings: Mapping[str, Any]) -> list[str]:
    """What does not fit the names of the modalities, or the names themselves."""
    if MODALITIES not in settings:
        return []
    names = settings[MODALITIES]
    if not _are_different_names(names):
        return [
            f"Expected modalities as a list of different names, got {names!r}; pass --modalities, such as "
            "\"['t1','flair']\"."
        ]
    problems, listed = [], ", ".join(names)
    weights, edges = settings.get(WEIGHTS), settings.get(EDGES, 0)
    if weights is not None and not _are_weights(weights, len(names)):
        problems.append(
            f"Expected {WEIGHTS} with one number >= 0 for each of modalities ({listed}), one of them > 0, "
            f'got {weights}; pass --{WEIGHTS}, such as "{[1] * len(names)}" for equal weights.'
        )
    if not isinstance(edges, int) or not 0 <= edges < len(names):
        problems.append(
            f"Expected {EDGES} from 0 to {len(names) - 1}, the position of one of modalities ({listed}), "
            f"got {edges}; pass --{EDGES}."
        )
    return problems


def _problems_of_threshold(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with the value from which on a voxel belongs to the mask."""
    value = settings.get(THRESHOLD, 1)
    if isinstance(value, (int, float)) and 0 < value <= 1:
        return []
    return [f"Expected 0 < {THRESHOLD} <= 1, got {value}; pass --{THRESHOLD}."]


def _are_different_names(names: Any) -> bool:
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return False
    if not all(isinstance(name, str) and name for name in names):
        return False
    return len({name.lower() for name in names}) == len(names)


def _are_weights(weights: Any, number: int) -> bool:
    if not isinstance(weights, Sequence) or len(weights) != number:
        return False
    legal = all(isinstance(weight, (int, float)) and 0 <= weight < math.inf for weight in weights)
    return legal and any(weight > 0 for weight in weights)
