"""What a bundle does before anything else: see that it can run here, on this data."""

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ignite.utils import manual_seed
from packaging.version import Version

from monai_ext.data import DataError, items, read_datalist, require_valid
from monai_ext.keys import CASE, IMAGE


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
        command = "pip install " + " ".join(f"'{name}>={oldest}'" for name, oldest, _ in wrong)
        raise RuntimeError(f"{metadata}: {found}. Try: {command}")


def prepare_training(
    metadata: str | Path, sections: Mapping[str, Sequence[Mapping[str, Any]]], num_classes: int, seed: int = 0
) -> None:
    """Check packages and every data file, and seed: the first expression of a bundle's ``initialize``.

    Args:
        metadata: the bundle's ``metadata.json``.
        sections: items by section of the datalist; all but ``training`` are fully labeled.
        num_classes: K; labels must be below.
        seed: initial random state, which the network's weights follow from.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if the data cannot be used; the reasons, one a line, are on the standard error.
    """
    require_packages(metadata)
    manual_seed(seed)
    stop_if_invalid(sections, range(num_classes))


def prepare_evaluation(
    bundle_root: str | Path,
    sections: Mapping[str, Sequence[Mapping[str, Any]]],
    num_classes: int,
    weights: str | Path,
) -> None:
    """Check packages, weights and every data file: the first expression of an evaluation's ``initialize``.

    Args:
        bundle_root: folder of the bundle.
        sections: the items to score, by section of the datalist.
        num_classes: K; labels must be below.
        weights: the trained weights.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if there are no weights or the data cannot be used.
    """
    require_packages(Path(bundle_root) / "configs" / "metadata.json")
    if not Path(weights).is_file():
        sys.exit(f"Expected trained weights at {weights}, found none; train first, or pass --ckpt_dir.")
    stop_if_invalid(sections, range(num_classes))


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


def stop_if_invalid(sections: Mapping[str, Sequence[Mapping[str, Any]]], labels: Collection[int]) -> None:
    """Leave with exit code 1 and one line for each problem of the data, if there is one."""
    try:
        require_valid(sections, labels=labels)
    except DataError as error:
        sys.exit(f"{error}\nThe data cannot be used as it is; nothing was trained or written.")


def read_items(
    datalist: str | Path, *sections: str, first_available: bool = False, missing_ok: bool = False
) -> list[dict[str, Any]]:
    """``monai_ext.data.items`` for expressions in a config: a problem ends the program with one line.

    Args:
        datalist: the JSON file.
        sections: lists to read, of ``training``, ``validation`` and ``test``.
        first_available: take the first list that is not empty instead of all.
        missing_ok: give an empty list if there is no such file, as where MONAI Label brings the items itself.

    Raises:
        SystemExit: if there is no such file, or it is not a datalist.
    """
    if missing_ok and not Path(datalist).is_file():
        return []
    try:
        return items(datalist, *sections, first_available=first_available)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def read_labels(datalist: str | Path) -> dict[str, str]:
    """Names of the classes by index, background included, for expressions in a config."""
    return dict(read_datalist(datalist)["labels"])


def read_unit(datalist: str | Path) -> str:
    """Unit of distances, "mm" or "voxel", for expressions in a config."""
    return str(read_datalist(datalist)["unit"])


def find_images(place: str | Path) -> list[dict[str, str]]:
    """The image itself, or all NIfTI files of a folder, as items for inference.

    Args:
        place: a file that MONAI can read, or a folder.

    Raises:
        SystemExit: if there is nothing to segment.
    """
    place = Path(place)
    files = [place] if place.is_file() else sorted([*place.glob("*.nii.gz"), *place.glob("*.nii")])
    if not files:
        sys.exit(
            f"Expected an image or a folder of .nii.gz or .nii files at {place}, found none; set --input."
        )
    return [{IMAGE: str(file), CASE: file.name.split(".nii")[0]} for file in files]
