"""What a bundle does before anything else: see that it can run here, on this data."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from ignite.utils import manual_seed
from packaging.version import Version

from monai_ext.data import DataError, items, read_datalist, require_valid
from monai_ext.data.check_entries import overlap_problems, parse_entries
from monai_ext.data.image_files import VolumeError, grid_problem, image_problems, read_volume
from monai_ext.data.modalities import find_cases as cases_of_modalities
from monai_ext.data.modalities import modality_problem
from monai_ext.data.tags import untagged
from monai_ext.keys import CAM_PREFIX, CASE, IMAGE, MODALITIES, PRED, Supervision

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, Any]]
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
    modalities: Sequence[str] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> None:
    """Check packages and data, and seed: the first expression of a training's ``initialize``.

    Args:
        metadata: the bundle's ``metadata.json``.
        datalist: the JSON file; where there is one, its classes, modalities and test list are looked at too.
        sections: items by section; ``training`` is learned from, the others are fully labeled.
        num_classes: K; labels must be below.
        seed: initial random state, which the network's weights follow from.
        modalities: names of the network's channels; the datalist must have the same (one need not be named).
        scoring_kinds: kinds of supervision that the section ``validation`` may hold; with "tags" among them,
            every item must have tags.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if the data cannot be used; the reasons, one a line, are on the standard error.
    """
    require_packages(metadata)
    ignore_warnings_inside_monai()
    manual_seed(seed)
    stop_if_invalid(datalist, sections, num_classes, modalities, scoring_kinds)


def prepare_inference(metadata: str | Path, weights: str | Path, network: torch.nn.Module) -> None:
    """Check packages and weights: the first expression of ``initialize`` in inference and evaluation.

    Raises:
        RuntimeError: if a package is missing or too old.
        SystemExit: if there are no weights, or they are those of another network.
    """
    require_packages(metadata)
    ignore_warnings_inside_monai()
    path = Path(weights).absolute()
    if not path.is_file():
        sys.exit(
            f"Expected trained weights at {path}, found none; train the bundle first, or restore the file."
        )
    found = torch.load(path, map_location="cpu", weights_only=True)
    for name, wanted in network.state_dict().items():
        got = tuple(found[name].shape) if name in found else "none"
        if got != tuple(wanted.shape):
            sys.exit(
                f"Expected weights {name} of shape {tuple(wanted.shape)} in {path}, got {got}; "
                "pass the options with which they were trained, such as num_classes and channels."
            )


def stop_if_unreadable(images: Items) -> None:
    """Leave with exit code 1 and one line for each image file that cannot be read or is not finite.

    Where an item has several files, they must lie on one grid; where it names ``modalities``, its files must
    have as many channels.
    """
    problems = [f"image {problem}" for item in images for problem in _unreadable(item)]
    if problems:
        sys.exit("\n".join([*problems, "Nothing was segmented."]))
    logger.info(f"{len(images)} images to segment")


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
    modalities: Sequence[str] | None = None,
    scoring_kinds: Collection[str] = ("full",),
) -> None:
    """Leave with exit code 1 and one line for each problem of the data, if there is one.

    The files of ``sections`` are read. A datalist that exists must have ``num_classes`` classes and, where
    ``modalities`` are given, these; every case must have them. None of its test patients may be among
    ``sections``; their files are not read. The section ``validation`` may hold ``scoring_kinds``; with "tags"
    among them, every item must have tags.
    """
    problems = untagged(sections) if Supervision.TAGS.value in scoring_kinds else []
    named: list[str] = []
    if Path(datalist).is_file():
        content = read_datalist(datalist)
        logger.info(f"data: {content['name']}")
        named = content[MODALITIES]
        problems += _unlike_network(datalist, num_classes, modalities)
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


def find_images(place: str | Path) -> list[dict[str, str]]:
    """The image itself, or all NIfTI files of a folder, as items for inference.

    Args:
        place: a file that MONAI can read, or a folder.

    Raises:
        SystemExit: if there is nothing to segment, or two files would be saved under one name.
    """
    place = Path(place)
    files = [place] if place.is_file() else sorted([*place.glob("*.nii.gz"), *place.glob("*.nii")])
    if not files:
        sys.exit(
            f"Expected an image or a folder of .nii.gz or .nii files at {place}, found none; set --input."
        )
    names = [file.name.removesuffix(".gz").removesuffix(".nii") for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        sys.exit(f"Expected one file for each name in {place}, found {', '.join(twice)} as .nii and .nii.gz.")
    return [{IMAGE: str(file), CASE: name} for file, name in zip(files, names, strict=True)]


def find_cases(place: str | Path, modalities: Sequence[str]) -> list[dict[str, Any]]:
    """``monai_ext.data.modalities.find_cases`` for a config: a problem ends the program with one line.

    Args:
        place: a file, a folder of files ``NAME_<modality>.nii.gz``, or a folder of such folders.
        modalities: names of the channels that the network takes, in their order.

    Raises:
        SystemExit: if there is nothing to segment, or it is not clear which files make a case.
    """
    try:
        return cases_of_modalities(place, modalities)
    except ValueError as error:
        sys.exit(str(error))


def _unlike_network(datalist: str | Path, num_classes: int, modalities: Sequence[str] | None) -> list[str]:
    """Classes and modalities of a datalist that are not those of the network."""
    content, problems = read_datalist(datalist), []
    classes, found = list(content["labels"].values()), list(content[MODALITIES])
    if len(classes) != num_classes:
        problems.append(
            f"{datalist}: Expected {num_classes} classes, as num_classes says, got {len(classes)}: "
            f"{', '.join(classes)}; pass --num_classes {len(classes)} or prepare the data anew."
        )
    unnamed = not found and len(modalities or ()) == 1
    if modalities is not None and not unnamed and found != list(modalities):
        problems.append(
            f"{datalist}: Expected the modalities {', '.join(modalities)} in this order, got "
            f'{", ".join(found) or "one without a name"}; pass --modalities "{found}" or prepare anew.'
        )
    return problems


def _unreadable(item: Mapping[str, Any]) -> list[str]:
    """What is wrong with the image files of an item, one text a problem."""
    files = [Path(file) for file in (item[IMAGE] if isinstance(item[IMAGE], list) else [item[IMAGE]])]
    problems, grids, channels = [], [], 0
    for file in files:
        try:
            volume = read_volume(file)
        except VolumeError as error:
            problems.append(str(error))
            continue
        grids.append(volume.grid)
        channels += volume.channels
        problems += image_problems(volume)
        problems += filter(None, [grid_problem(grids[-1], grids[0])])
    if item.get(MODALITIES) and len(grids) == len(files):
        problems += filter(None, [modality_problem(files, channels, item[MODALITIES])])
    return problems
