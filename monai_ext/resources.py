"""The bundles and the scripts that prepare data sets, wherever this package is installed."""

from pathlib import Path

from monai_ext.errors import InputError

PACKAGE = Path(__file__).resolve().parent
SHIPPED = PACKAGE / "shipped"
"""Where ``setup.py`` puts copies of them into an installed package; a checkout has the originals."""


def bundle_folder(name: str) -> Path:
    """Folder of a bundle, to be copied and not to be run where it lies.

    Raises:
        InputError: if there is none of that name.
    """
    return _choose("bundles", name, "a bundle")


def prepare_script(dataset: str) -> Path:
    """The script that makes a datalist of a data set.

    Raises:
        InputError: if there is none for it.
    """
    return _choose("datasets", dataset, "a data set") / "prepare.py"


def _choose(kind: str, name: str, what: str) -> Path:
    root = SHIPPED if SHIPPED.is_dir() else PACKAGE.parent
    known = sorted(path.name for path in (root / kind).glob("*/") if not path.name.startswith((".", "_")))
    if name not in known:
        raise InputError(f"Expected {what} among {', '.join(known)}, got {name!r}.")
    return root / kind / name
