"""What a bundle does before anything else: see that it can run here, on this data."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ignite.utils import manual_seed
from packaging.version import Version

from monai_ext.bundle.saved_files import read_saved
from monai_ext.bundle.settings import options_beside_modalities, stop_if_unfit
from monai_ext.datalist import DataError, items, read_datalist, require_valid
from monai_ext.datalist.check_entries import overlap_problems, parse_entries
from monai_ext.datalist.tags import untagged
from monai_ext.images.inputs import Items
from monai_ext.keys import CAM_PREFIX, MODALITIES, PRED, Supervision

logger = logging.getLogger(__name__)

OURS = "monai-ext"
"""Our package, which no registry has: what a registry offers under this name would be somebody else's."""


def require_packages(metadata: str | Path) -> None:
    """Compare the installed packages with what a bundle's metadata asks for, which MONAI itself does not.

    Args:
        metadata: the bundle's ``metadata.json``; ``monai_version``, ``pytorch_version`` and
            ``required_packages_version`` are the oldest versions that will do.

    Raises:
        RuntimeError: naming every package that is missing or too old and the pip command that helps.
    """
    content = json.loads(Path(metadata).read_text(encoding="utf-8"))
    wanted = {"monai": content["monai_version"], "torch": content["pytorch_version"]}
    wanted |= content.get("required_packages_version", {})
    wrong = []
    for name, oldest in wanted.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "none"
        if installed == "none" or Version(installed) < Version(oldest):
            wrong.append((name, oldest, installed))
    if wrong:
        found = "; ".join(
            f"expected {name} >= {oldest}, got {installed}" for name, oldest, installed in wrong
        )
        public = [f"'{name}>={oldest}'" for name, oldest, _ in wrong if name != OURS]
        commands = ["pip install " + " ".join(public)] * bool(public)
        commands += ["pip install -e . in a clone of this bundle's repository"] * (len(public) < len(wrong))
        raise RuntimeError(f"{metadata}: {found}. Try: {'; then '.join(commands)}")


def ignore_warnings_inside_monai() -> None:
    """Hide the warnings by which MONAI speaks to itself, one by one; every other warning is shown."""
    # It looks for an optional GPU decoder of DICOM, and says twice that it is not there.
    warnings.filterwarnings("ignore", "NvImgCodecPydicomReader: nvImageCodec decoder plugin did not register")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    # A volume that nothing was done to has nothing to undo.
    warnings.filterwarnings("ignore", "inverse has been called but no invertible transforms")
    # Its surface metrics pass an argument that it deprecated.
    warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges:always_return_as_numpy")


def prepare_training(
    metadata: str | Path,
    datalist: str | Path,
    sections: Mapping[str, Items],
    num_classes: int,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> None:
    """Check packages, settings and data, and seed: the first expression of a training's ``initialize``.

    Args:
        metadata: the bundle's ``metadata.json``.
        datalist: the JSON file; where there is one, its classes, modalities and test list are looked at too.
        sections: items by section; ``training`` is learned from, the others are fully labeled.
        num_classes: K; labels must be below.
        seed: initial random state, which the network's weights follow from.
        settings: as in ``monai_ext.bundle.settings.stop_if_unfit``; the datalist must have the same
            ``modalities`` (one need not be named).
        scoring_kinds: kinds of supervision that the section ``validation`` may hold; with "tags" among them,
            every item must have tags.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if settings or data cannot be used; the reasons, one a line, are on the standard error.
    """
    require_packages(metadata)
    ignore_warnings_inside_monai()
    stop_if_unfit(settings or {})
    manual_seed(seed)
    stop_if_invalid(datalist, sections, num_classes, settings, scoring_kinds)


def prepare_inference(
    metadata: str | Path,
    weights: str | Path,
    network: torch.nn.Module,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Check packages, settings and weights: first in ``initialize`` of inference and evaluation.

    Args:
        metadata: the bundle's ``metadata.json``.
        weights: the file of trained weights.
        network: the network that takes them.
        settings: as in ``monai_ext.bundle.settings.stop_if_unfit``.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if a setting cannot be used, there are no weights, or they are those of another network.
    """
    require_packages(metadata)
    ignore_warnings_inside_monai()
    stop_if_unfit(settings or {})
    path = Path(weights).absolute()
    if not path.is_file():
        sys.exit(
            f"Expected trained weights at {path}, found none; train the bundle first, or restore the file."
        )
    found = read_saved(path, "whole weights", "restore it, or train the bundle")
    if problem := _weights_problem(found, network):
        expected, got = problem
        such = MODALITIES if MODALITIES in (settings or {}) else "num_classes"
        sys.exit(
            f"Expected {expected} in {path}, got {got}; "
            f"pass the options with which they were trained, such as {such} and channels."
        )


def local_device() -> torch.device:
    """The device of this process among those that ``torchrun`` started: a GPU each, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")


def start_distributed(device: torch.device) -> None:
    """Join the process group of ``torchrun`` (NCCL between GPUs, Gloo else)."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop_if_invalid(
    datalist: str | Path,
    sections: Mapping[str, Items],
    num_classes: int,
    settings: Mapping[str, Any] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> None:
    """Leave with exit code 1 and one line for each problem of the data, if there is one.

    The files of ``sections`` are read. A datalist that exists must have ``num_classes`` classes and, where
    ``settings`` name ``modalities``, these; every case must have them. None of its test patients may be among
    ``sections``; their files are not read. The section ``validation`` may hold ``scoring_kinds``; with "tags"
    among them, every item must have tags.
    """
    problems = untagged(sections) if Supervision.TAGS.value in scoring_kinds else []
    named: list[str] = []
    if Path(datalist).is_file():
        content = read_datalist(datalist)
        logger.info(f"data: {content['name']}")
        named = content[MODALITIES]
        problems += _unlike_network(datalist, num_classes, settings or {})
        if "test" not in sections:
            entries, _ = parse_entries({**sections, "test": read_items(datalist, "test")})
            problems += [message for _, message in overlap_problems(entries)]
    try:
        require_valid(sections, range(num_classes), modalities=named, scoring_kinds=scoring_kinds)
    except DataError as error:
        problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        problems.append("The data cannot be used as it is; nothing was trained or written.")
        sys.exit("\n".join(problems))


def read_items(datalist: str | Path, *sections: str, first_available: bool = False) -> list[dict[str, Any]]:
    """``monai_ext.data.items`` for expressions in a config: a problem ends the program with one line.

    Args:
        datalist: the JSON file.
        sections: lists to read, of ``training``, ``validation`` and ``test``.
        first_available: take the first list that is not empty instead of all.

    Raises:
        SystemExit: if there is no such file, or it is not a datalist.
    """
    try:
        return items(datalist, *sections, first_available=first_available)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def items_to_score(datalist: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The test list of a datalist, or its validation list where that is empty, under its name."""
    section = "test" if read_items(datalist, "test") else "validation"
    return {section: read_items(datalist, section)}


def read_labels(datalist: str | Path) -> dict[str, str]:
    """Names of the classes by index, background included, for expressions in a config; {} without a file."""
    return dict(read_datalist(datalist)["labels"]) if Path(datalist).is_file() else {}


def read_unit(datalist: str | Path) -> str:
    """Unit of distances, "mm" or "voxel", for expressions in a config."""
    return str(read_datalist(datalist)["unit"])


def map_keys(modalities: Sequence[str]) -> list[str]:
    """Keys under which the fused map and that of each modality are, for expressions in a config."""
    return [PRED, *(CAM_PREFIX + name for name in modalities)]


def _unlike_network(datalist: str | Path, num_classes: int, settings: Mapping[str, Any]) -> list[str]:
    """Classes and modalities of a datalist that are not those of the network."""
    content, problems = read_datalist(datalist), []
    classes, found = list(content["labels"].values()), list(content[MODALITIES])
    if len(classes) != num_classes:
        problems.append(
            f"{datalist}: Expected {num_classes} classes, as num_classes says, got {len(classes)}: "
            f"{', '.join(classes)}; pass --num_classes {len(classes)} or prepare the data anew."
        )
    wanted = settings.get(MODALITIES)
    unnamed = not found and len(wanted or ()) == 1
    if wanted is not None and not unnamed and found != list(wanted):
        problems.append(
            f"{datalist}: Expected the modalities {', '.join(wanted)} in this order, got "
            f'{", ".join(found) or "one without a name"}; pass --modalities "{found}"'
            f"{options_beside_modalities(settings)}, or prepare anew."
        )
    return problems


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
