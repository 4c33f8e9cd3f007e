"""What the tests of all prepare scripts share: a script as a command on a raw folder, and what it wrote."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import typer
from typer.testing import CliRunner

from monai_ext.datalist.datalist import items
from monai_ext.errors import InputError

REPOSITORY = Path(__file__).resolve().parents[1]


class PrepareCommand:
    """The prepare script of a data set. ``out`` is a folder beside the raw one, if nothing else is said."""

    def __init__(self, dataset: str) -> None:
        self.script = REPOSITORY / "datasets" / dataset / "prepare.py"
        spec: Any = importlib.util.spec_from_file_location(f"prepare_{dataset}", self.script)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.app = typer.Typer()
        self.app.command()(self.module.main)

    def run(self, raw, *options, out=None):
        """The result of the command, and the folder where it writes."""
        out = out or raw.parent / "out"
        return CliRunner().invoke(self.app, ["--raw", str(raw), "--out", str(out), *map(str, options)]), out

    def prepared(self, raw, *options, out=None):
        """The folder of a datalist."""
        result, out = self.run(raw, *options, out=out)
        assert result.exit_code == 0, result.output
        return out

    def refusal(self, raw, *options):
        """The one line with which the command fails, leaving nothing behind."""
        before = set(raw.parent.iterdir())
        result, _ = self.run(raw, *options)
        assert result.exit_code == 1 and isinstance(result.exception, InputError)
        assert set(raw.parent.iterdir()) == before
        (line,) = str(result.exception).splitlines()
        return line

    def as_script(self, folder):
        """The command in a process of its own, on a raw folder that is not there."""
        words = [sys.executable, self.script, "--raw", folder / "none", "--out", folder / "out"]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def save(path, array, affine):
    nib.save(nib.Nifti1Image(array, affine), path)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def listed(out, section="training"):
    """Items of a section by case."""
    return {item["case"]: item for item in items(out / "datalist.json", section)}


def write_split(folder, rows):
    (folder / "split.csv").write_text("patient,split\n" + "".join(f"{n},{s}\n" for n, s in rows))


def summary_rows(result):
    """The cells of each row of the printed table."""
    return [re.findall(r"[\w.%]+", line) for line in result.output.splitlines() if "│" in line]
