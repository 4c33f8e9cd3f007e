"""Which image files lie in a folder: hidden ones left out, links followed, a DICOM series as one image."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from monai_ext.errors import InputError

logger = logging.getLogger(__name__)

NIFTI_SUFFIXES = (".nii.gz", ".nii")
NIBABEL_SUFFIXES = (*NIFTI_SUFFIXES, ".mgz", ".mgh", ".hdr", ".img")
"""Of the files that nibabel reads; SimpleITK reads the others."""
SUFFIXES = (*NIFTI_SUFFIXES, ".mha", ".mhd", ".nrrd", ".nhdr", *NIBABEL_SUFFIXES[len(NIFTI_SUFFIXES) :])
"""Of the files that are taken for images, in small letters; capitals count as well."""
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")
_OTHER_SUFFIXES = (
    *PICTURE_SUFFIXES,
    *(".nii.bz2", ".nii.xz", ".nii.zip", ".mnc", ".mif", ".par", ".rec", ".gipl", ".vtk", ".vti", ".mat"),
    *(".npy", ".npz"),
)
"""Of files that somebody might take for images to segment, though they are not taken."""


def is_image_name(path: Path) -> bool:
    """Whether a file is called like an image."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """Name of an image without the suffix of its format; a folder's whole name.

    >>> stem(Path("scans/p.1_T1.NII.GZ"))
    'p.1_T1'
    """
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def folders_at(
    place: Path, levels: float = 0, left_out: Path | None = None, unreadable: bool = False
) -> Iterator[Path]:
    """A folder and those below it, in the order of their names.

    Links to folders are followed. One that was reached before, by a link to a folder above it for example, is
    not entered again.

    Args:
        place: a folder.
        levels: how many levels below it are entered; ``math.inf`` for all.
        left_out: a folder below ``place`` that is not entered, such as that of the results.
        unreadable: whether a folder below ``place`` that cannot be read counts as one without any in it.

    Raises:
        InputError: if a folder cannot be read.
    """
    seen = {left_out.resolve()} - {place.resolve()} if left_out else set()

    def enter(folder: Path, levels: float) -> Iterator[Path]:
        if (real := folder.resolve()) in seen:
            logger.debug(f"{folder}: passed over, since {real} was reached before or holds the results")
            return
        seen.add(real)
        yield folder
        skipped = unreadable and folder != place and not is_readable(folder)
        for entry in entries(folder) if levels and not skipped else []:
            if entry.is_dir():
                yield from enter(entry, levels - 1)

    return enter(place, levels)


def images_in(folder: Path) -> list[Path]:
    """The images of one folder in the order of their names; the folder itself if it holds a DICOM series.

    A link that leads nowhere counts as an image, so that whoever opens it says so.
    """
    files = _files_in(folder)
    headers = {stem(file) for file in files if file.suffix.lower() == ".hdr"}
    images = [
        file
        for file in files
        if is_image_name(file) and not (file.suffix.lower() == ".img" and stem(file) in headers)
    ]
    return images or [folder] * any(map(is_dicom, files))


def others_in(folder: Path) -> list[Path]:
    """Files of one folder that somebody might take for images, though ``images_in`` leaves them out.

    They are pictures, volumes in other formats, and DICOM files beside images, where they are no series.
    """
    series = images_in(folder) == [folder]
    return [
        file
        for file in _files_in(folder)
        if not is_image_name(file)
        and (file.name.lower().endswith(_OTHER_SUFFIXES) or (not series and is_dicom(file)))
    ]


def _files_in(folder: Path) -> list[Path]:
    return [entry for entry in entries(folder) if not entry.is_dir()]


def is_readable(folder: Path) -> bool:
    """Whether it can be seen what lies in a folder."""
    try:
        entries(folder)
    except InputError:
        return False
    return True


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, without hidden files and what macOS leaves behind.

    Raises:
        InputError: if the folder cannot be read.
    """
    try:
        os.stat(os.path.join(folder, "."))  # where names can be listed, but nothing opened, it fails
        return sorted(e for e in folder.iterdir() if not e.name.startswith(".") and e.name != "__MACOSX")
    except OSError as error:
        raise InputError(
            f"{folder}: Expected a folder that can be read, got: {error.strerror}; change its permissions."
        ) from error


def is_dicom(file: Path) -> bool:
    """Whether a file has a suffix of DICOM, or its mark at byte 128."""
    if file.name.lower().endswith(_DICOM_SUFFIXES):
        return True
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def nothing_found(
    place: Path, wanted: str, elsewhere: Sequence[Path] = (), others: Sequence[Path] = ()
) -> InputError:
    """The error that says what was looked for at a place, and in which folders below it there are images.

    Args:
        place: a file, a folder, or a place where nothing is.
        wanted: what was looked for, such as "an image".
        elsewhere: folders below ``place`` with images, which were not looked into.
        others: files of other formats, see ``others_in``.
    """
    if not os.path.lexists(place):
        return InputError(f"Expected {wanted} at {place}, got no such file or folder; set --input.")
    if elsewhere:
        return InputError(
            f"Expected {wanted} at {place}, found none there but some in {listed(elsewhere, place)}; "
            "name one of these folders, or look through all with --recursive true."
        )
    if others:
        return InputError(
            f"Expected {wanted} at {place}, found only files of other formats ({listed(others, place)}); "
            "give volumes, such as NIfTI, or the DICOM files of one series in a folder of their own."
        )
    return InputError(f"Expected {wanted} at {place}, found none; set --input.")


def listed(paths: Sequence[Path], place: Path, number: int = 5) -> str:
    """Some paths in words, below ``place`` without it.

    >>> listed([Path("a/b"), Path("c")], Path("a"))
    'b, c'
    """
    named = [str(path.relative_to(place) if path.is_relative_to(place) else path) for path in paths[:number]]
    rest = len(paths) - len(named)
    return ", ".join(named) + (f" and {rest} more" if rest else "")
