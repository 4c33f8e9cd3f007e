"""Images that lie in several files: a header with its voxels apart, or the slices of a DICOM series."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from monai_ext.images.search import entries

_META_IMAGE, _NRRD = (".mhd", ".mha"), (".nhdr", ".nrrd")
_PAIR = {".hdr": ".img", ".img": ".hdr"}
_HEADER_BYTES = 1 << 16
"""More than a header takes that names its files one by one."""
_DATA_FILE = re.compile(r"^(?:ElementDataFile\s*=|data ?file:)[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)


def files_of_image(path: str | os.PathLike[str]) -> list[Path]:
    """The files that an image lies in, those that are there only.

    Args:
        path: a file, or the folder of a DICOM series, of which all visible files count.

    Returns:
        The file itself first, then those that its header names, in their order; or the files of the folder.
    """
    path = Path(path)
    if path.is_dir():
        return [file for file in entries(path) if file.is_file()]
    suffix = path.suffix.lower()
    others: Iterator[Path] = iter(())
    if suffix in _PAIR:
        names = (file for file in path.parent.iterdir() if file.stem == path.stem)
        others = (file for file in sorted(names) if file.suffix.lower() == _PAIR[suffix])
    elif suffix in (*_META_IMAGE, *_NRRD) and path.is_file():
        others = (path.parent / name for name in _named_in(path))
    return [file for file in (path, *others) if file.is_file()]


def _named_in(header: Path) -> Iterator[str]:
    """Names of the files with the voxels: one, a numbered series, or those listed behind the word LIST."""
    with header.open("rb") as stream:
        text = stream.read(_HEADER_BYTES).decode("latin-1")
    if header.suffix.lower() in _NRRD:
        text = re.split(r"\r?\n\r?\n", text)[0]  # the voxels of an undivided file follow
    if not (found := _DATA_FILE.search(text)):
        return
    what = found[1].strip()
    pattern = re.fullmatch(r"(\S*%\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(\s+\d+)?", what)
    if what.split()[0] == "LIST":
        yield from filter(None, map(str.strip, text[found.end() :].splitlines()))
    elif pattern:
        first, last, step = (int(pattern[k]) for k in (2, 3, 4))
        if step:
            yield from (pattern[1] % k for k in range(first, last + (1 if step > 0 else -1), step))
    elif what.upper() != "LOCAL":
        yield what
