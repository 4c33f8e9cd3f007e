"""A tiny raw folder in the layout of ACDC, ways to spoil it, and the prepare script as a command on it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.prepare_command import PrepareCommand, voxels, write_split
from tests.prepare_command import save as save_with

COMMAND = PrepareCommand("acdc")
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 8, -5], [0, 0, 0, 1.0]])
PATIENTS = [f"patient{n:03d}" for n in range(1, 8)]


def save(path, array, affine=AFFINE):
    save_with(path, array, affine)


class Raw:
    """A raw folder: what lies in it, how to change it, and what the command makes of it."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *options, out=None):
        """The result of the command, and the folder where it writes."""
        return COMMAND.run(self.folder, *options, out=out)

    def prepared(self, *options, out=None):
        """The folder of a datalist."""
        return COMMAND.prepared(self.folder, *options, out=out)

    def refusal(self, *options):
        """The one line with which the command fails, leaving nothing behind."""
        return COMMAND.refusal(self.folder, *options)

    def file(self, name):
        """The only file of this name, in any folder."""
        (path,) = self.folder.rglob(name)
        return path

    def voxels(self, name):
        return voxels(self.file(name))

    def rewrite(self, name, change, affine=AFFINE):
        save(self.file(name), change(self.voxels(name)), affine)

    def write_split(self, rows):
        write_split(self.folder, rows)

    def spoil_scribble(self, count, value=2):
        """Draws `value` on the first `count` background voxels of a scribble and returns where they are."""
        name = "patient002_frame01_scribble.nii.gz"
        scribble, truth = self.voxels(name).copy(), self.voxels("patient002_frame01_gt.nii.gz")
        drawn = np.flatnonzero((scribble == 0) & (truth == 0))[:count]
        scribble.flat[drawn] = value
        save(self.file(name), scribble)
        return drawn

    def add_patient(self, place, affine=AFFINE):
        """Two frames with a heart in two of three slices, their scribbles, and files to ignore."""
        folder = self.folder / place
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\nHeight: 170.0\n")
        r, c = np.mgrid[:28, :32] - 14
        plane = np.select([r**2 + c**2 < 25, r**2 + c**2 < 60, r**2 + (c + 8) ** 2 < 50], [3, 2, 1], 0)
        truth = np.stack([plane, plane, 0 * plane], axis=-1).astype(np.uint8)
        scribble = np.full_like(truth, 4)
        scribble[::3, ::2] = truth[::3, ::2]
        rng = np.random.default_rng(int(folder.name[-3:]))
        for number in (1, 9):
            stem = folder / f"{folder.name}_frame{number:02d}"
            save(f"{stem}.nii.gz", (100 * truth + rng.integers(0, 50, truth.shape)).astype(np.int16), affine)
            save(f"{stem}_gt.nii.gz", truth, affine)
            save(f"{stem}_scribble.nii.gz", scribble, affine)
        save(folder / f"{folder.name}_frame05.nii.gz", truth.astype(np.int16))
        save(folder / f"{folder.name}_4d.nii.gz", np.zeros((4, 4, 2, 3), dtype=np.int16))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    raw = Raw(tmp_path_factory.mktemp("acdc"))
    for name in PATIENTS:
        raw.add_patient(Path("training" if name < "patient006" else "testing") / name)
    raw.write_split(zip(PATIENTS, ["training"] * 5 + ["validation", "test"], strict=True))
    return raw.folder


@pytest.fixture
def raw(pristine, tmp_path):
    """A copy to spoil, with five training patients, one for validation and one for the test."""
    return Raw(shutil.copytree(pristine, tmp_path / "raw"))


@pytest.fixture
def empty(tmp_path):
    """A folder without patients."""
    (tmp_path / "empty").mkdir()
    return Raw(tmp_path / "empty")
