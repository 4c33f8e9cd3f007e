"""The data of a run: reading a datalist in a config, and seeing that it can be used."""

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_ext.bundle.settings import options_beside_modalities
from monai_ext.datalist import DataError, items, read_datalist, require_valid
from monai_ext.datalist.check_entries import parse_entries
from monai_ext.datalist.check_overlaps import overlap_problems
from monai_ext.datalist.fit import misfit
from monai_ext.datalist.tags import untagged
from monai_ext.errors import InputError
from monai_ext.images.inputs import Items
from monai_ext.keys import CAM_PREFIX, MODALITIES, PRED, Supervision

logger = logging.getLogger(__name__)


def require_data(
    datalist: str | Path,
    sections: Mapping[str, Items],
    num_classes: int,
    settings: Mapping[str, Any] | None = None,
    scoring_kinds: Collection[str] = ("full",),
    learns_from: str | None = None,
) -> None:
    """See that data can be used: in a config's ``run``, before the engine.

    The files of ``sections`` are read.

    Args:
        datalist: the JSON file. Where there is one, it must have ``num_classes`` classes and, where
            ``settings`` name ``modalities``, these; none of its test patients may be among ``sections``, and
            their files are not read. A tool that puts items into the config may leave it out.
        sections: items by section; ``training`` is learned from, the others are fully labeled.
        num_classes: K; labels must be below.
        settings: values by id; every case must have their ``modalities`` (one need not be named).
        scoring_kinds: kinds of supervision that the section ``validation`` may hold; with "tags" among them,
            every item must have tags.
        learns_from: kind of weak labels that the bundle is for; where the training list holds those of
            another bundle instead, this alone is said.

    Raises:
        InputError: with one line for each problem.
    """
    problems = untagged(sections) if Supervision.TAGS.value in scoring_kinds else []
    named = list((settings or {}).get(MODALITIES, []))
    if Path(datalist).is_file() or not any(sections.values()):
        content = read_datalist(datalist)
        logger.info(f"data: {content['name']}")
        named = content[MODALITIES]
        if learns_from and (problem := misfit(sections.get("training", []), named, learns_from)):
            raise InputError(f"{datalist}: {problem}")
        problems += unlike_network(datalist, num_classes, settings or {})
        if "test" not in sections:
            entries, _ = parse_entries({**sections, "test": read_items(datalist, "test")})
            problems += [message for _, message in overlap_problems(entries)]
    try:
        require_valid(sections, range(num_classes), modalities=named, scoring_kinds=scoring_kinds)
    except DataError as error:
        problems += [line for line in str(error).splitlines() if line not in problems]
    if problems:
        problems.append("The data cannot be used as it is; nothing was trained or written.")
        raise InputError("\n".join(problems))


def read_items(datalist: str | Path, *sections: str, first_available: bool = False) -> list[dict[str, Any]]:
    """``monai_ext.datalist.items`` for expressions in a config, which tools evaluate before there are data.

    Args:
        datalist: the JSON file; without it the list is empty, and ``require_data`` says so.
        sections: lists to read, of ``training``, ``validation`` and ``test``.
        first_available: take the first list that is not empty instead of all.

    Raises:
        InputError: if it is not a datalist.
    """
    if not Path(datalist).exists():
        return []
    return items(datalist, *sections, first_available=first_available)


def items_to_score(datalist: str | Path) -> dict[str, list[dict[str, Any]]]:
    """The test list of a datalist, or its validation list where that is empty, under its name."""
    section = "test" if read_items(datalist, "test") else "validation"
    return {section: read_items(datalist, section)}


def read_labels(datalist: str | Path) -> dict[str, str]:
    """Names of the classes by index, background included, for expressions in a config; {} without a file."""
    return dict(read_datalist(datalist)["labels"]) if Path(datalist).is_file() else {}


def read_unit(datalist: str | Path) -> str:
    """Unit of distances, "mm" or "voxel", for expressions in a config; "voxel" without a file."""
    return str(read_datalist(datalist)["unit"]) if Path(datalist).is_file() else "voxel"


def map_keys(modalities: Sequence[str]) -> list[str]:
    """Keys under which the fused map and that of each modality are, for expressions in a config."""
    return [PRED, *(CAM_PREFIX + name for name in modalities)]


def unlike_network(datalist: str | Path, num_classes: int, settings: Mapping[str, Any]) -> list[str]:
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
