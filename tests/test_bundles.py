"""Every bundle as it lies in the repository: its files, its configs, its metadata, its network.

What its commands do is in tests/bundles. A new folder in bundles/ is tested by existing.
"""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import monai.bundle
import pytest
import torch
import yaml
from monai.bundle import ConfigParser

REPOSITORY = Path(__file__).resolve().parents[1]
BUNDLES = sorted(folder.parent for folder in (REPOSITORY / "bundles").glob("*/configs"))
SCHEMA = json.loads(
    (REPOSITORY / "tests" / "data_files" / "metadata_schema.json").read_text(encoding="utf-8")
)
MEGABYTE = 1e6

FILES = [f"configs/{name}.yaml" for name in ("inference", "train", "evaluate", "multi_gpu_train", "demo")]
FILES += [
    "configs/metadata.json",
    "configs/logging.conf",
    "docs/README.md",
    "docs/data_license.txt",
    "LICENSE",
]
LINES = {"inference": 70, "train": 130}
LINES_OF_MIX_IN = 25

SHARED_IDS = [
    "imports",
    "bundle_root",
    "device",
    "dataset_dir",
    "network_def",
    "network",
    "initialize",
    "run",
]
INFERENCE_IDS = ["preprocessing", "dataset::data", "inferer", "postprocessing", "handlers", "evaluator"]
TRAINING_IDS = ["optimizer", "val_interval", "resume", "seed", "num_classes", "ckpt_dir", "output_dir"]
TRAINING_IDS += ["train::dataset::data", "train::trainer::max_epochs", "train::inferer", "train::handlers"]
TRAINING_IDS += ["validate::dataset::data", "validate::evaluator", "validate::handlers"]

pytestmark = [
    pytest.mark.parametrize("bundle", BUNDLES, ids=lambda folder: folder.name),
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),  # MONAI: a config is code
]


def content(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def leaves(node):
    """All values of nested dictionaries and lists."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
    return [node] if children is None else [leaf for child in children for leaf in leaves(child)]


def inference_network(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.yaml"))
    torch.manual_seed(0)
    return parser.get_parsed_content("network_def").eval()


def metadata(bundle):
    return json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))


def sizes(tensor, n):
    """What the metadata's formulas of the shape of a tensor are for this n."""
    return [eval(str(size), {"n": n, "p": 2}) for size in tensor["spatial_shape"]]


def images_as_described(bundle, n):
    """Two random inputs of the shape that the metadata says."""
    image = metadata(bundle)["network_data_format"]["inputs"]["image"]
    return torch.rand(2, image["num_channels"], *sizes(image, n))


@pytest.mark.parametrize("file", FILES)
def test_has_the_files_of_a_model_zoo_bundle(bundle, file):
    path = bundle / file
    assert path.is_file() and path.read_text(encoding="utf-8").strip(), f"{path} is missing or empty"


def test_configs_are_short(bundle):
    files = (bundle / "configs").glob("*.yaml")
    lines = {file.stem: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {n: count for n, count in lines.items() if count > LINES.get(n, LINES_OF_MIX_IN)} == {}


def test_expressions_are_short(bundle):
    values = [value for file in (bundle / "configs").glob("*.yaml") for value in leaves(content(file))]
    assert [value for value in values if str(value).startswith("$") and len(value) > 80] == []


def test_no_config_reads_another_one_or_names_a_place_of_its_author(bundle):
    for file in (bundle / "configs").glob("*.yaml"):
        texts = [value for value in leaves(content(file)) if isinstance(value, str)]
        assert [text for text in texts if text.startswith(("%", "/", "~")) or "/home/" in text] == []


@pytest.mark.parametrize(("name", "ids"), [("inference", INFERENCE_IDS), ("train", TRAINING_IDS)])
def test_has_the_ids_that_other_tools_look_up(bundle, name, ids):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / f"{name}.yaml"))
    assert [key for key in SHARED_IDS + ids if key not in parser] == []


def test_training_handlers_are_a_list_that_monai_label_can_extend(bundle):
    handlers = content(bundle / "configs" / "train.yaml")["train"]["handlers"]
    assert isinstance(handlers, list) and all("_target_" in handler for handler in handlers)


def mix_ins(bundle):
    """Every config but the two that are complete alone."""
    return [file for file in sorted((bundle / "configs").glob("*.yaml")) if file.stem not in LINES]


def bases(file):
    """The complete configs for which a mix-in says in its first line to be made."""
    heading = file.read_text(encoding="utf-8").splitlines()[0].partition(":")[0]
    assert heading.startswith("# Mix-in for "), f"{file} does not say for which config it is"
    return [name for name in LINES if f"{name}.yaml" in heading]


def without_effect(file, base):
    """Ids of a mix-in that are not in the config, nor arguments of what is there, nor referred to."""
    parser = ConfigParser()
    parser.read_config(str(file.with_name(f"{base}.yaml")))
    used = re.findall(r"@([\w:]+)", file.read_text(encoding="utf-8"))
    new = {key for key in content(file) if key.lstrip("+") not in parser} - {"finalize", *used}
    return [key for key in new if f"{key.rpartition('::')[0]}::_target_" not in parser]


def test_mix_ins_override_only_what_is_there(bundle):
    """A mistyped id would be accepted without a word and change nothing."""
    found = {
        (file.stem, base): without_effect(file, base) for file in mix_ins(bundle) for base in bases(file)
    }
    assert {name for name, _ in found} == {file.stem for file in mix_ins(bundle)}
    assert {where: ids for where, ids in found.items() if ids} == {}


def test_evaluation_leaves_the_handlers_that_save_weights_out(bundle):
    mix_in = content(bundle / "configs" / "evaluate.yaml")
    targets = [handler["_target_"] for handler in mix_in["validate::handlers"]]
    assert "CheckpointLoader" in targets and "monai_ext.handlers.EvaluationSummary" in targets
    assert not any("Checkpoints" in target or "Saver" in target for target in targets)


def test_inference_says_what_it_wrote_and_where(bundle):
    config = content(bundle / "configs" / "inference.yaml")
    summary = {"_target_": "monai_ext.handlers.InferenceSummary", "output_dir": "@output_dir"}
    assert "@summary" in config["handlers"] and summary.items() <= config["summary"].items()
    assert config["summary"]["labels"] == "@labels"


def test_volumes_are_called_as_the_classes_of_the_metadata(bundle):
    labels = content(bundle / "configs" / "inference.yaml")["labels"]
    pred = metadata(bundle)["network_data_format"]["outputs"]["pred"]["channel_def"]
    named = {name for name in labels if any(channel.endswith(name) for channel in pred.values())}
    assert named == set(labels)
    if len(labels) == len(pred):  # else there are channels for each modality
        assert labels == list(pred.values())


def test_metadata_follows_the_bundle_specification(bundle):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    problems = jsonschema.Draft202012Validator(SCHEMA).iter_errors(metadata(bundle))
    assert [problem.message for problem in problems] == []


@pytest.mark.parametrize("key", [*SCHEMA["required"], "required_packages_version"])
def test_the_schema_misses_every_key_that_is_left_out(bundle, key):
    incomplete = metadata(bundle)
    del incomplete[key]
    with pytest.raises(jsonschema.ValidationError, match=r"is a required property|not valid under any"):
        jsonschema.validate(incomplete, SCHEMA)


def test_metadata_agrees_with_itself(bundle):
    about = metadata(bundle)
    assert next(iter(about["changelog"])) == about["version"]
    for tensor in (
        *about["network_data_format"]["inputs"].values(),
        *about["network_data_format"]["outputs"].values(),
    ):
        assert sorted(tensor["channel_def"]) == [str(channel) for channel in range(tensor["num_channels"])]


def test_the_network_takes_and_gives_what_the_metadata_says(bundle):
    meta, config = (str(bundle / "configs" / name) for name in ("metadata.json", "inference.yaml"))
    network, pred = inference_network(bundle), metadata(bundle)["network_data_format"]["outputs"]["pred"]
    for n in (1, 2):
        monai.bundle.verify_net_in_out("network_def", meta_file=meta, config_file=config, device="cpu", n=n)
        with torch.no_grad():
            logits = network(images_as_described(bundle, n))
        assert logits.shape == (2, pred["num_channels"], *sizes(pred, n))
        assert str(logits.dtype) == f"torch.{pred['dtype']}"


def test_the_network_scripts_and_computes_the_same(bundle):
    network = inference_network(bundle)
    batch = images_as_described(bundle, n=2)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(batch), network(batch))


def test_the_inference_config_is_complete_alone_and_elsewhere(bundle, tmp_path):
    file = shutil.copy(bundle / "configs" / "inference.yaml", tmp_path)
    parser = ConfigParser()
    parser.read_config(file)
    parser.update({"bundle_root": str(tmp_path), "dataset::data": []})
    for key in ("preprocessing", "postprocessing", "inferer", "network", "dataset", "evaluator"):
        assert parser.get_parsed_content(key) is not None
    used = set(re.findall(r"@([A-Za-z_:0-9]+)", Path(file).read_text(encoding="utf-8")))
    assert [key for key in used if key not in parser] == []


def test_shipped_weights_are_small_and_fit_the_network(bundle):
    file = bundle / "models" / "model.pt"
    if not file.exists():
        pytest.skip("no weights are shipped")
    assert file.stat().st_size <= 8 * MEGABYTE
    weights = torch.load(file, map_location="cpu", weights_only=True)
    inference_network(bundle).load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
