"""Whether the weights are there, and are those of the network."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from monai_ext.bundle.saved_files import read_saved
from monai_ext.errors import InputError
from monai_ext.keys import MODALITIES


def require_weights(
    weights: str | Path, network: torch.nn.Module, settings: Mapping[str, Any] | None = None
) -> None:
    """See that a file holds the weights of a network, before an image is read.

    Args:
        weights: the file of trained weights.
        network: the network that takes them.
        settings: values by id; with ``modalities`` among them, that is what the message speaks of.

    Raises:
        InputError: if there are no weights, or they are those of another network.
    """
    path = Path(weights).absolute()
    if not path.is_file():
        raise InputError(
            f"Expected trained weights at {path}, found none; train the bundle first, or restore the file."
        )
    found = read_saved(path, "whole weights", "restore it, or train the bundle")
    if problem := _weights_problem(found, network):
        expected, got = problem
        such = MODALITIES if MODALITIES in (settings or {}) else "num_classes"
        raise InputError(
            f"Expected {expected} in {path}, got {got}: weights of another network; pass "
            f"--weights with those of this one, or the options with which they were trained, "
            f"such as {such} and channels."
        )


def _weights_problem(weights: Mapping[str, Any], network: torch.nn.Module) -> tuple[str, str] | None:
    """What was expected and found where weights are not those of a network; None if they are.

    Weights that the network leaves out on purpose when it loads, as those of another branch, are no problem.
    """
    for name, wanted in network.state_dict().items():
        shape, got = tuple(wanted.shape), tuple(weights[name].shape) if name in weights else "none"
        if got != shape:
            return f"weights {name} of shape {shape}", str(got)
    surplus = deepcopy(network).load_state_dict(weights, strict=False).unexpected_keys
    return (f"no weights {surplus[0]}", str(tuple(weights[surplus[0]].shape))) if surplus else None
