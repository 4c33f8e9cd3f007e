"""Names: those that a datalist leaves out, and those that somebody spelled another way."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from monai_ext.images.search import stem


def distinct_names(paths: Sequence[str], taken: Collection[str] = ()) -> list[str]:
    """The shortest ends of paths that tell them apart: file names, and folders before them where needed.

    Args:
        paths: of files; equal ones get one name.
        taken: names that none of them may have.

    Returns:
        A name for each path, without ending and with ``_`` between folders and file.

    >>> distinct_names(["p1/scan.nii.gz", "p2/scan.nii.gz", "other.nii"])
    ['p1_scan', 'p2_scan', 'other']
    """
    parts = {path: _parts(path) for path in paths}
    lengths = dict.fromkeys(parts, 1)
    while True:
        names = {path: "_".join(parts[path][-length:]) for path, length in lengths.items()}
        counts = Counter(names.values()) + Counter(taken)
        longer = [p for p, name in names.items() if counts[name] > 1 and lengths[p] < len(parts[p])]
        if not longer:
            return [names[path] for path in paths]
        for path in longer:
            lengths[path] += 1


def _parts(path: str) -> list[str]:
    folders = [part for part in Path(path).parent.parts if part not in ("/", "..")]
    return [*folders, stem(Path(path))]


def nearest(word: object, known: Iterable[str], likeness: float = 0.8) -> str | None:
    """The known word that is spelled almost like another; None if there is none.

    >>> nearest("supervison", ["label", "supervision"])
    'supervision'
    """
    lower = {name.lower(): name for name in known}
    found = get_close_matches(str(word).lower(), lower, n=1, cutoff=likeness)
    return lower[found[0]] if found else None


def misspelled(found: Collection[str], known: Collection[str], likeness: float = 0.8) -> dict[str, str]:
    """Keys that seem to stand for a known one which is absent, and that one.

    A key that adds a word to a known one, such as ``patient_age``, is a key of its own.
    """
    absent = [key for key in known if key not in found]
    pairs = {key: nearest(key, absent, likeness) for key in found if key not in known}
    return {key: meant for key, meant in pairs.items() if meant and not key.startswith(f"{meant}_")}
