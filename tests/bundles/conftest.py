"""The tiny data sets on which the bundles are tried. A new bundle says in `TINY` what its data are."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

from monai_ext.failures import message_of
from monai_ext.phantoms.files import write_brain_phantoms, write_heart_phantoms
from tests.processes import run_python

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLES = sorted(folder.parent.name for folder in (REPOSITORY / "bundles").glob("*/configs"))


def prepare(dataset: str, raw: Path, **options: Any) -> Path:
    """Run ``prepare.py`` of a data set on ``raw`` and return the folder of the datalist."""
    spec: Any = importlib.util.spec_from_file_location(
        dataset, REPOSITORY / "datasets" / dataset / "prepare.py"
    )
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(raw=raw, out=raw.parent / "data", **options)
    return raw.parent / "data"


def acdc(folder: Path, **options: Any) -> Path:
    """Five computer-made hearts, one of them fully annotated."""
    return prepare("acdc", write_heart_phantoms(folder / "raw", patients=5, seed=0), full="1", **options)


def brats(folder: Path, modalities: tuple[str, ...] = ("t1", "flair")) -> Path:
    """Five computer-made brains in some modalities, of which training knows a tag for each slice."""
    raw = write_brain_phantoms(folder / "raw", patients=5, seed=0, modalities=modalities)
    return prepare("brats", raw, modalities=",".join(modalities))


class Tiny(NamedTuple):
    """How a bundle is tried within seconds."""

    make_data: Callable[[Path], Path]
    """Writes a data set into a folder and returns the folder of its datalist.json."""
    network: dict[str, Any]
    """Overrides of train.yaml and inference.yaml."""
    training: dict[str, Any]
    """Overrides of train.yaml; an epoch has `BATCHES` batches."""
    also: tuple[str, ...] = ()
    """Further predictions that the evaluation scores."""
    more_classes: tuple[Callable[[Path], Path], dict[str, Any]] | None = None
    """Data of more classes, and the overrides that they need."""
    channels: int = 1
    """Of every image."""
    selected_by: str = "val_mean_dice"
    """The metric by which a training selects weights."""
    shipped_data: Callable[[Path], Path] | None = None
    """Data for train.yaml without overrides, where those of `make_data` do not do."""


BATCHES = 3
EPOCH = {"train::dataloader::batches_per_epoch": BATCHES, "val_interval": 2}
TINY = {
    "brats_weak_cam_segmentation": Tiny(
        make_data=brats,
        network={
            "modalities": ["t1", "flair"],
            "weights_of_modalities": [0, 1],
            "spatial_size": [32, 32],
            "channels": [4, 8],
        },
        training=EPOCH | {"train::dataloader::batch_size": 4},
        channels=2,
        selected_by="val_tag_accuracy",
        shipped_data=lambda folder: brats(folder, modalities=("t1", "flair", "t1ce")),
    ),
    "lv_mixed_supervision_segmentation": Tiny(
        make_data=acdc,
        network={"spatial_size": [64, 64], "channels": [4, 8, 8, 8, 8]},
        training=EPOCH,
        also=("teacher",),
        more_classes=(lambda folder: acdc(folder, task="heart"), {"num_classes": 4}),
    ),
    "noisy_label_segmentation": Tiny(
        make_data=lambda folder: acdc(folder, task="heart", noise=["symmetric"]),
        network={"spatial_size": [64, 64], "channels": [4, 8, 8, 8, 8]},
        training=EPOCH
        | {  # finds something to correct within a few iterations
            "correction::detector::latest_fraction": 0.1,
            "correction::detector::min_iou": 0.0,
            "correction::rule::foreground_threshold": 0.0,
            "correction::rule::background_threshold": 0.9,
            "correction::interval": 1,
        },
    ),
}

CONFIGS = {
    "train": ["configs/train.yaml"],
    "evaluate": ["configs/train.yaml", "configs/evaluate.yaml"],
    "infer": ["configs/inference.yaml"],
}


class Copy:
    """A bundle elsewhere, as it would be cloned: without what a training left in it.

    Args:
        name: of the bundle.
        tiny: how it is tried.
        data: folder of datalist.json.
        place: the folder that is made.
    """

    def __init__(self, name: str, tiny: Tiny, data: Path, place: Path) -> None:
        ignored = shutil.ignore_patterns("*.pt", "*.ts", "eval", "cache")
        self.root = shutil.copytree(REPOSITORY / "bundles" / name, place, ignore=ignored)
        self.tiny, self.data, self.models = tiny, data, place / "models"

    def options(self, what, epochs=2, mix_ins=(), **overrides):
        """The config files of a command, with mix-ins after the first, and what they are told."""
        given = dict(self.tiny.network)
        if what != "infer":
            given["dataset_dir"] = str(self.data)
        if what == "train":
            given |= {**self.tiny.training, "train::trainer::max_epochs": epochs}
        first, *rest = CONFIGS[what]
        return [first, *(f"configs/{name}.yaml" for name in mix_ins), *rest], {**given, **overrides}

    def run(self, what, **overrides):
        """``python -m monai.bundle run`` in this process, whose path, folder and logging stay as they are."""
        files, given = self.options(what, **overrides)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setattr(sys, "path", [*sys.path])
            monai.bundle.run(config_file=files, logging_file=False, **given)

    def complaint(self, what, **overrides):
        """What a run that fails has to say to the user."""
        with pytest.raises(Exception) as stopped:  # MONAI wraps ours in its own
            self.run(what, **overrides)
        message = message_of(stopped.value)
        assert message is not None, stopped.value
        return message

    def command(self, what, **overrides):
        """The same as a command of its own."""
        files, given = self.options(what, **overrides)
        words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
        command = ["-m", "monai.bundle", "run", "--config_file", str(files), *words]
        return run_python(*command, what=f"{what} of {self.root.name}", cwd=self.root)

    def load(self, file):
        """A file of its models folder."""
        return torch.load(self.models / file, map_location="cpu", weights_only=True)

    def handlers(self, before=(), after=()):
        """Override that adds training handlers to those of the config."""
        config = yaml.safe_load((self.root / "configs" / "train.yaml").read_text(encoding="utf-8"))
        return {"train::handlers": [*before, *config["train"]["handlers"], *after]}


@pytest.fixture(scope="session", params=BUNDLES)
def name(request):
    return request.param


@pytest.fixture(scope="session")
def tiny(name):
    if name not in TINY:
        pytest.fail(f"{name}: say in TINY of {__file__} what data the bundle is tried on")
    return TINY[name]


@pytest.fixture(scope="session")
def data(tiny, tmp_path_factory):
    """Folder of datalist.json."""
    return tiny.make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def copies(name, tiny, data, tmp_path):
    """Makes copies of the bundle."""
    return lambda place: Copy(name, tiny, data, tmp_path / place)


@pytest.fixture
def bundle(copies):
    """A copy that nothing was done with."""
    return copies("bundle")


@pytest.fixture(scope="session")
def trained(name, tiny, data, tmp_path_factory):
    """A copy after two epochs by the command of the documentation; tests only read it or write into eval."""
    copy = Copy(name, tiny, data, tmp_path_factory.mktemp("trained") / name)
    done = copy.command("train")
    assert done.returncode == 0, done.stderr
    return copy


@pytest.fixture
def write_datalist(data, tmp_path):
    """Makes a folder of a small datalist that a function has changed; its files are those of ``data``."""

    def write(change):
        content = json.loads((data / "datalist.json").read_text(encoding="utf-8"))
        for section in ("training", "validation", "test"):
            content[section] = [with_full_paths(item, data) for item in one_of_each_kind(content[section])]
        change(content)
        folder = tmp_path / "changed"
        folder.mkdir()
        (folder / "datalist.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return write


def one_of_each_kind(items):
    return list({item["supervision"]: item for item in items}.values())


def with_full_paths(item, folder):
    files = {key: item[key] for key in ("image", "label", "reference") if key in item}
    return item | {
        key: [str(folder / file) for file in value] if isinstance(value, list) else str(folder / value)
        for key, value in files.items()
    }


def image_files(item):
    """The image files of an item, one for each modality."""
    return item["image"] if isinstance(item["image"], list) else [item["image"]]


def read_image(item):
    """Voxels (X, Y, Z) of an item's image; (X, Y, Z, M) where it has several modalities."""
    channels = [nib.load(file).get_fdata(dtype=np.float32) for file in image_files(item)]
    return channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
