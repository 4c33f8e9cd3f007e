"""The packages that a bundle needs, and those of their warnings that tell users nothing."""

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import Version

import monai_ext
from monai_ext.errors import InputError

OURS = "monai_ext"
"""Our package, which no registry has: what a registry offers under this name would be somebody else's."""


def require_packages(metadata: Mapping[str, Any]) -> None:
    """Compare the installed packages with what a bundle's metadata ask for, which MONAI itself does not.

    Args:
        metadata: the content of the bundle's ``metadata.json``; ``monai_version``, ``pytorch_version``,
            ``monai_ext_version`` and ``required_packages_version`` are the oldest versions that will do,
            each where it is there.

    Raises:
        InputError: naming every package that is missing or too old and the pip command that helps.
    """
    named = {"monai": "monai_version", "torch": "pytorch_version", OURS: "monai_ext_version"}
    wanted = {name: metadata[key] for name, key in named.items() if key in metadata}
    wanted |= metadata.get("required_packages_version", {})
    versions = {name: installed_version(name) for name in wanted}
    wrong = [
        name
        for name, oldest in wanted.items()
        if versions[name] is None or Version(str(versions[name])) < Version(oldest)
    ]
    if not wrong:
        return
    found = "; ".join(f"expected {name} >= {wanted[name]}, got {versions[name] or 'none'}" for name in wrong)
    public = [f"'{name}>={wanted[name]}'" for name in wrong if name != OURS]
    commands = ["pip install " + " ".join(public)] * bool(public)
    commands += ["pip install -e . in a clone of this bundle's repository"] * (OURS in wrong)
    raise InputError(f"{metadata.get('name', 'The bundle')}: {found}; try {'; then '.join(commands)}")


def installed_version(name: str) -> str | None:
    """Version of a package; None if it is not installed."""
    if name == OURS:
        return monai_ext.__version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def ignore_warnings_inside_monai() -> None:
    """Hide, one by one, the warnings of MONAI that tell users nothing; every other warning is shown."""
    # It looks for an optional GPU decoder of DICOM, and says twice that it is not there.
    warnings.filterwarnings("ignore", "NvImgCodecPydicomReader: nvImageCodec decoder plugin did not register")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    # A volume that nothing was done to has nothing to undo.
    warnings.filterwarnings("ignore", "inverse has been called but no invertible transforms")
    # Its surface metrics pass an argument that it deprecated.
    warnings.filterwarnings("ignore", "monai.metrics.utils get_mask_edges:always_return_as_numpy")
