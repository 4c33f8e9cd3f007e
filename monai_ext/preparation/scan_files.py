"""Raw files of scans with several modalities, one file for each and one for the mask."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from monai_ext.datalist.names import distinct_names
from monai_ext.errors import InputError
from monai_ext.images.grids import Volume, common_grid
from monai_ext.images.search import listed, stem
from monai_ext.keys import Supervision
from monai_ext.preparation.cases import Patient, read_image
from monai_ext.preparation.folders import images_below, nothing_below, refuse_copies

logger = logging.getLogger(__name__)

MASK = "seg"
"""What the file of the mask is called beside the modalities."""


class Case(NamedTuple):
    """One scan of a patient."""

    name: str
    patient: Patient
    images: list[Path]
    """One file for each modality."""
    mask: Path | None
    """None if only its tags are known."""


def find_files(raw: Path, suffixes: Mapping[str, Mapping[str, str]], tree: str) -> dict[str, dict[str, Path]]:
    """Files such as ``CASE_t1.nii.gz`` at any depth, of any format that is taken.

    Upper and lower case of suffixes count as equal. Files that are called by their suffix alone are a case of
    the name of their folder. Files of one name in different folders are one case, unless two of these folders
    hold the same of it: then each folder has a case, with the folder in its name.

    Args:
        raw: the folder of the data set.
        suffixes: what a file holds by its suffix, for each separator: ``{"_": {"t1": "t1", "seg": "seg"}}``.
        tree: what the files look like, for the message.

    Returns:
        For each case, the file of everything that the suffixes name; it may be absent.

    Raises:
        InputError: no case is there, a folder has a file of it twice, or two hold copies.
    """
    together: dict[_Part, list[tuple[str, Path]]] = {}
    for path in images_below(raw) if raw.is_dir() else ():
        if found := _part_of(path, suffixes):
            together.setdefault(found[0], []).append((found[1], path))
    if not together:
        raise nothing_below(raw, f"files {tree}")
    parts: dict[_Part, dict[str, Path]] = {}
    for part, pairs in together.items():
        parts |= _by_folder(part, pairs)
    for part, files in parts.items():
        folder = next(iter(files.values())).parent
        for suffix, what in suffixes[part.separator].items():
            files.setdefault(what, folder / f"{part.name}{part.separator * bool(part.name)}{suffix}.nii.gz")
    names = _names(list(parts))
    if apart := [Path(name) for name, part in zip(names, parts, strict=True) if part.name and part.folder]:
        logger.warning(
            "files of one name in several folders are different cases, called by their folders: "
            f"{listed(apart, Path())}"
        )
    return dict(sorted(zip(names, parts.values(), strict=True)))


class _Part(NamedTuple):
    """What the files of a case have in common."""

    name: str
    """Empty if the files are called by their suffixes alone."""
    separator: str
    folder: Path | None
    """Of files without a name, and where a name repeats, so that cases are apart; else None."""


def _part_of(path: Path, suffixes: Mapping[str, Mapping[str, str]]) -> tuple[_Part, str] | None:
    """The case of a file and what it holds of it; None if it is another file."""
    whole = stem(path)
    for separator, known in suffixes.items():
        name, _, suffix = whole.rpartition(separator)
        if (what := known.get(suffix.lower())) and (name or suffix == whole):
            return _Part(name, separator, None if name else path.parent), what
    return None


def _by_folder(part: _Part, pairs: Sequence[tuple[str, Path]]) -> dict[_Part, dict[str, Path]]:
    """The files of one case, or those of a case for each folder if two folders hold the same of it."""
    together: dict[str, Path] = {}
    apart: dict[_Part, dict[str, Path]] = {}
    repeated = False
    for what, path in pairs:
        repeated |= not together.setdefault(what, path).samefile(path)
        here = apart.setdefault(part._replace(folder=path.parent), {}).setdefault(what, path)
        if not here.samefile(path):
            raise InputError(
                f"{path}: Expected one file of {what} in its folder, got {here} too; rename one."
            )
    if not repeated:
        return {part: together}
    if part.name:
        refuse_copies(list(apart.values()))
    return apart


def _names(parts: Sequence[_Part]) -> list[str]:
    """A name for each case: its own, or behind those of its folders where it has none or repeats."""
    own = [part.name for part in parts if part.folder is None]
    places = Counter((part.folder, part.name) for part in parts)
    if twice := next((name for (_, name), number in places.items() if name and number > 1), None):
        raise InputError(f"Expected the files of {twice} with one separator, got several; rename some.")
    paths = [str(part.folder / part.name) for part in parts if part.folder]
    named = dict(zip(paths, distinct_names(paths, own), strict=True))
    return [named[str(part.folder / part.name)] if part.folder else part.name for part in parts]


def list_cases(
    files: Mapping[str, Mapping[str, Path]],
    patients: Iterable[Patient],
    patient_of: Callable[[str], str],
    modalities: Sequence[str],
    tagged: Collection[str],
) -> list[Case]:
    """Every case to prepare; that its files are there shows now.

    Args:
        files: as :func:`find_files` returns them.
        patients: all of them.
        patient_of: name of the patient by name of the case.
        modalities: those that are wanted.
        tagged: names of the cases whose tags are known without a mask.

    Raises:
        InputError: a file is absent, or a tagged case.
    """
    if strangers := sorted(set(tagged) - set(files)):
        raise InputError(
            f"Expected --tags of cases in the data, got {len(strangers)} others, e.g. {strangers[0]}; "
            "correct the file or the folder."
        )
    names: dict[str, list[str]] = {}
    for name in files:
        names.setdefault(patient_of(name), []).append(name)
    cases = []
    for patient in patients:
        for name in names[patient.name]:
            images, mask = [files[name][modality] for modality in modalities], files[name][MASK]
            for image in images:
                if not image.is_file():
                    raise InputError(
                        f"{image}: Expected this file, found none; leave the modality out with --modalities, "
                        "or take out the case."
                    )
            without_mask = not mask.is_file() and name in tagged and patient.kind is Supervision.TAGS
            if not mask.is_file() and not without_mask:
                raise InputError(
                    f"{mask}: Expected this file, found none; restore it, take out the case, or "
                    "give the tags of a training case without full mask with --tags."
                )
            cases.append(Case(name, patient, images, None if without_mask else mask))
    return cases


def read_modalities(paths: Sequence[Path]) -> list[Volume]:
    """Read the files of a case, which must be volumes of three axes on one grid.

    Raises:
        InputError: a file cannot be read, or lies on another grid than most; the message names it.
    """
    volumes: list[Volume] = []
    for path in paths:
        volumes.append(read_image(path))
    _, problems = common_grid([volume.grid for volume in volumes], [path.name for path in paths])
    if problems:
        raise InputError(problems[0])
    return volumes
