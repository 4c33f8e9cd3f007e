"""Ships the bundles and the scripts of the data sets with the package; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

LEFT_OUT = shutil.ignore_patterns("*.pt", "*.ts", "*.png", "eval", "cache", "data", "__pycache__", ".*")
"""What runs leave in a bundle, and its weights, which belong to the data's owners."""


class BuildWithBundles(build_py):
    """Build the package, and copy what `monai_ext.resources` finds there."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            for kind in ("bundles", "datasets"):
                place = Path(self.build_lib) / "monai_ext" / "shipped" / kind
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(kind, place, ignore=LEFT_OUT)


setup(cmdclass={"build_py": BuildWithBundles})
