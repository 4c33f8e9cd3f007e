"""Every bundle at work on a tiny data set, by MONAI's own commands; how it lies in the repository is test_bundles.py.

A new bundle says in `TINY` what data it is tried on.
"""

import importlib.util
import json
import shutil
import subprocess
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
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow

from monai_ext.data.datalist import items
from monai_ext.data.phantom_files import write_heart_phantoms
from monai_ext.handlers.seeding import EpochSeed

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = sorted(folder.parent.name for folder in (REPOSITORY / "bundles").glob("*/configs"))


def acdc(folder: Path, task: str = "lv") -> Path:
    """Five computer-made hearts, one of them fully annotated, as datasets/acdc/prepare.py leaves them."""
    spec: Any = importlib.util.spec_from_file_location("acdc", REPOSITORY / "datasets" / "acdc" / "prepare.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    raw = write_heart_phantoms(folder / "raw", patients=5, seed=0)
    script.main(raw=raw, out=folder / "data", full="1", task=task)
    return folder / "data"


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


BATCHES = 3
EPOCH = {"train::dataloader::batches_per_epoch": BATCHES, "val_interval": 2}
TINY = {
    "lv_mixed_supervision_segmentation": Tiny(
        make_data=acdc,
        network={"spatial_size": [64, 64], "channels": [4, 8, 8, 8, 8]},
        training=EPOCH,
        also=("teacher",),
        more_classes=(lambda folder: acdc(folder, task="heart"), {"num_classes": 4}),
    ),
}

TRAIN, EVALUATE, INFER = (
    ["configs/train.yaml"],
    ["configs/train.yaml", "configs/evaluate.yaml"],
    ["configs/inference.yaml"],
)

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


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
    return tiny.make_data(tmp_path_factory.mktemp("data"))


def copy_bundle(name, folder):
    """The bundle elsewhere, as it would be cloned: without what a training left in it."""
    ignored = shutil.ignore_patterns("*.pt", "*.ts", "eval", "cache")
    return shutil.copytree(REPOSITORY / "bundles" / name, folder / name, ignore=ignored)


@pytest.fixture
def root(name, tmp_path):
    return copy_bundle(name, tmp_path)


def run(root, config, **overrides):
    """``python -m monai.bundle run`` in this process, whose path, folder and logging stay as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(sys, "path", [*sys.path])
        monai.bundle.run(config_file=config, logging_file=False, **overrides)


def command(root, config, **overrides):
    """The same as a command of its own."""
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(config), *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


def train(root, tiny, data, epochs=2, **overrides):
    options = {**tiny.network, **tiny.training, "train::trainer::max_epochs": epochs}
    run(root, TRAIN, dataset_dir=str(data), **{**options, **overrides})


@pytest.fixture(scope="session")
def trained(name, tiny, data, tmp_path_factory):
    """Folder of a copied bundle after two epochs by the command of the documentation."""
    root = copy_bundle(name, tmp_path_factory.mktemp("trained"))
    options = {**tiny.network, **tiny.training, "train::trainer::max_epochs": 2}
    done = command(root, "configs/train.yaml", dataset_dir=data, **options)
    assert done.returncode == 0, done.stderr
    return root


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def assert_equal(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def class_count(root):
    pred = json.loads((root / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    return len(pred["channel_def"])


@pytest.mark.parametrize(("kind", "config"), [("train", TRAIN), ("infer", INFER)])
def test_every_property_that_monai_looks_up_is_there(root, tiny, data, kind, config, monkeypatch):
    monkeypatch.chdir(root)
    overrides = {**tiny.network, "dataset_dir": str(data), "dataset::data": items(data / "datalist.json", "test")}
    if kind == "train":
        overrides = {**tiny.network, **tiny.training, "dataset_dir": str(data)}
    workflow = ConfigWorkflow(config, workflow_type=kind, logging_file=False, **overrides)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_training_leaves_weights_state_and_curves_and_nothing_elsewhere(trained):
    assert {file.name for file in (trained / "models").iterdir()} == {"model.pt", "checkpoint.pt"}
    assert list((trained / "eval" / "tensorboard").iterdir())
    assert {file.name for file in trained.iterdir()} <= {"LICENSE", "configs", "docs", "models", "eval", "cache"}


def assert_summary(part, class_names):
    """The form of summary.json that is the same in every bundle, for one prediction."""
    metrics = {"dice", "hd95"}
    assert set(part) == {"mean", "classes", "cases"}
    assert set(part["mean"]) == metrics and set(part["classes"]) == class_names
    assert part["cases"]
    for case in part["cases"]:
        assert set(case) == {"case", "classes"} and set(case["classes"]) == class_names
        assert all(set(scores) == metrics for scores in case["classes"].values())


@pytest.fixture(scope="session")
def summary(trained, tiny, data):
    run(trained, EVALUATE, dataset_dir=str(data), **tiny.network)
    text = (trained / "eval" / "summary.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_evaluation_scores_the_test_list_in_the_form_of_every_bundle(trained, tiny, data, summary):
    content = json.loads((data / "datalist.json").read_text())
    class_names = {name for index, name in content["labels"].items() if index != "0"}
    rest = dict(summary)
    assert rest.pop("unit") == content["unit"]
    further = [rest.pop(key) for key in tiny.also]
    for part in (rest, *further):
        assert_summary(part, class_names)
        assert [case["case"] for case in part["cases"]] == [item["case"] for item in content["test"]]
    assert (trained / "eval" / "cases.csv").is_file()


def test_evaluation_does_not_touch_the_weights(trained, tiny, data, tmp_path):
    root = shutil.copytree(trained, tmp_path / "copy")
    before = (root / "models" / "model.pt").read_bytes()
    run(root, EVALUATE, dataset_dir=str(data), **tiny.network)
    assert (root / "models" / "model.pt").read_bytes() == before


def test_evaluation_falls_back_to_the_validation_list(trained, tiny, data, tmp_path):
    content = absolute(data)
    content["test"] = []
    run(trained, EVALUATE, dataset_dir=write(content, tmp_path), output_dir=str(tmp_path), **tiny.network)
    scored = json.loads((tmp_path / "summary.json").read_text())["cases"]
    assert [case["case"] for case in scored] == [item["case"] for item in content["validation"]]


def test_evaluation_without_weights_says_so(root, tiny, data):
    with pytest.raises(SystemExit, match="Expected trained weights at .*model.pt, found none; train first"):
        run(root, EVALUATE, dataset_dir=str(data), **tiny.network)


def test_inference_keeps_shape_and_affine_of_every_image_of_a_folder(trained, tiny, data, tmp_path):
    folder, affine = tmp_path / "images", np.diag([1.3, -0.9, 7.0, 1.0])
    affine[:3, :3] = affine[:3, :3] @ rotation(0.3)
    folder.mkdir()
    source = nib.load(items(data / "datalist.json", "test")[0]["image"])
    for file, array in (("a.nii.gz", source.get_fdata()), ("b.nii", source.get_fdata()[5:-8, :-3])):
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), folder / file)
    run(trained, INFER, input=str(folder), output_dir=str(tmp_path / "out"), **tiny.network)
    results = {path.name: nib.load(path) for path in (tmp_path / "out").iterdir()}
    assert sorted(results) == ["a_seg.nii.gz", "b_seg.nii.gz"]
    for name, file in (("a_seg.nii.gz", "a.nii.gz"), ("b_seg.nii.gz", "b.nii")):
        assert results[name].shape == nib.load(folder / file).shape[:3]
        np.testing.assert_allclose(results[name].affine, affine, atol=1e-4)
        assert set(np.unique(results[name].get_fdata())) <= set(range(class_count(trained)))


def rotation(angle):
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])


def test_inference_on_one_file_is_what_the_evaluation_scored(trained, tiny, data, summary, tmp_path):
    case = items(data / "datalist.json", "test")[0]
    run(trained, INFER, input=case["image"], output_dir=str(tmp_path), **tiny.network)
    [file] = tmp_path.iterdir()
    found, truth = nib.load(file).get_fdata(), nib.load(case["label"]).get_fdata()
    for value, scores in enumerate(summary["cases"][0]["classes"].values(), start=1):
        pair = found == value, truth == value
        dice = 2 * np.logical_and(*pair).sum() / sum(mask.sum() for mask in pair)
        assert scores["dice"] == pytest.approx(dice, abs=1e-4)


def test_inference_without_an_image_says_where_it_looked(trained, tiny, tmp_path):
    with pytest.raises(SystemExit, match=f"Expected an image or a folder .* at {tmp_path}, found none"):
        run(trained, INFER, input=str(tmp_path), **tiny.network)


def test_a_copied_bundle_exports_a_network_that_computes_the_same(trained, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, exported = str(trained / "configs" / "inference.yaml"), tmp_path / "model.ts"
    paths = {"config_file": config, "meta_file": str(trained / "configs" / "metadata.json")}
    weights = trained / "models" / "model.pt"
    monai.bundle.ckpt_export("network_def", str(exported), ckpt_file=str(weights), **paths, **tiny.network)
    parser = ConfigParser()
    parser.read_config(config)
    parser.update(tiny.network)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(load(weights))
    image = torch.rand(2, 1, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(exported)(image), network(image))


class StopInEpoch:
    """Handler that interrupts a training within an epoch, as Ctrl-C would."""

    def __init__(self, epoch):
        self.iteration = (epoch - 1) * BATCHES + 2

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=self.iteration), self)

    def __call__(self, engine):
        raise KeyboardInterrupt


def handlers(root, before=(), after=()):
    """The training handlers of the config, and more."""
    config = yaml.safe_load((root / "configs" / "train.yaml").read_text(encoding="utf-8"))
    return {"train::handlers": [*before, *config["train"]["handlers"], *after]}


def test_a_killed_training_resumes_to_identical_weights(name, tiny, data, tmp_path):
    whole, parts = (copy_bundle(name, tmp_path / part) for part in ("whole", "parts"))
    train(whole, tiny, data, epochs=4)
    with pytest.raises(SystemExit) as stopped:
        train(parts, tiny, data, epochs=4, **handlers(parts, after=[StopInEpoch(3)]))
    assert stopped.value.code == 130
    assert load(parts / "models" / "checkpoint.pt")["epoch"] == 2
    train(parts, tiny, data, epochs=4, resume=True)
    for file in ("checkpoint.pt", "model.pt"):
        assert_equal(load(parts / "models" / file), load(whole / "models" / file))


def test_monai_label_can_replace_data_epochs_and_handlers(root, trained, tiny, data, tmp_path, monkeypatch):
    """Plain items of full masks, no datalist, weights to start from: what MONAI Label's training sets."""
    listed = items(data / "datalist.json", "training", "validation")
    plain = [{key: i[key] for key in ("image", "label")} for i in listed if i["supervision"] == "full"]
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(trained / "models" / "model.pt"),
        "load_dict": {"model": "$@network"},
    }
    epochs = []
    monkeypatch.setattr(EpochSeed, "__call__", lambda self, engine: epochs.append(engine.state.epoch))
    overrides = {"train::dataset::data": plain, "validate::dataset::data": plain[-1:], "optimizer::lr": 0.0}
    (tmp_path / "empty").mkdir()
    train(root, tiny, tmp_path / "empty", epochs=1, **overrides, **handlers(root, before=[loader]))
    found, start = (load(folder / "models" / "model.pt") for folder in (root, trained))
    learned = [key for key in start if key.endswith("weight")]
    assert epochs == [1]
    assert_equal({key: found[key] for key in learned}, {key: start[key] for key in learned})


def test_more_classes_need_one_number(root, tiny, tmp_path):
    if tiny.more_classes is None:
        pytest.skip("the bundle's classes are fixed")
    make, overrides = tiny.more_classes
    data = make(tmp_path / "more")
    train(root, tiny, data, epochs=1, **overrides)
    run(root, EVALUATE, dataset_dir=str(data), **tiny.network, **overrides)
    names = list(json.loads((data / "datalist.json").read_text())["labels"].values())
    assert list(json.loads((root / "eval" / "summary.json").read_text())["classes"]) == names[1:]


def absolute(data):
    """Content of the datalist with the paths of its files in full and two items a list."""
    content = json.loads((data / "datalist.json").read_text())
    for section in ("training", "validation", "test"):
        kinds = {item["supervision"]: item for item in content[section]}
        content[section] = [
            {key: str(data / value) if key in ("image", "label", "reference") else value for key, value in item.items()}
            for item in kinds.values()
        ]
    return content


def write(content, folder):
    (folder / "datalist.json").write_text(json.dumps(content))
    return str(folder)
