"""What the configs of training and of inference both say: it must agree, or masks are not made as scored.

Mix-ins are read with their config: one for both beside itself, NAME.yaml beside NAME_inference.yaml.
"""

import pytest
from monai.bundle import ConfigItem, ConfigParser

from tests.bundles.conftest import BUNDLES, REPOSITORY

OWN = {"initialize", "run", "output_dir", "network", "_meta_"}
"""What a command does, where it writes, the memory layout of its network, the names of its files."""

MEANT = {
    "lv_mixed_supervision_segmentation": {"network_def::branches": (None, "student")},
    "noisy_label_segmentation": {  # inference knows no label
        f"{step}::{key}": values
        for step in ("load", "channel_first")
        for key, values in {
            "keys": (["image", "label"], "image"),
            "allow_missing_keys": (True, None),
        }.items()
    },
}
"""What an id says in training and in inference of a bundle, or with a mix-in of it, where both are right."""

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


def pairs(name):
    """Mix-ins of train.yaml and of inference.yaml that belong together; none at first."""
    found = [([], [])]
    for file in sorted((REPOSITORY / "bundles" / name / "configs").glob("*.yaml")):
        heading = file.read_text(encoding="utf-8").splitlines()[0].partition(":")[0]
        if heading.startswith("# Mix-in for ") and "inference.yaml" in heading:
            found.append(([file.stem.removesuffix("_inference")], [file.stem]))
    return found


PAIRS = {"-".join((name, *pair[0])): (name, *pair) for name in BUNDLES for pair in pairs(name)}


def read(name, *files):
    parser = ConfigParser()
    parser.read_config([str(REPOSITORY / "bundles" / name / "configs" / f"{file}.yaml") for file in files])
    return parser


def leaves(node, key):
    """Ids of everything below that is no dictionary."""
    return [x for k, v in node.items() for x in leaves(v, f"{key}::{k}")] if isinstance(node, dict) else [key]


def value(parser, key):
    """What an id comes to, as arguments where it is an object; None if it is not there."""
    found = parser.get_parsed_content(key, instantiate=False) if key in parser else None
    return found.get_config() if isinstance(found, ConfigItem) else found


def differences(name, training, inference):
    """Values in both, by id, where the training as it is evaluated and the inference say something else."""
    both = read(name, "train", *training, "evaluate"), read(name, "inference", *inference)
    both[0]["inferer"] = both[0]["validate::inferer"]
    shared = (both[0].config.keys() & both[1].config.keys()) - OWN
    ids = {leaf for parser in both for key in shared for leaf in leaves(parser[key], key)}
    found = {key: tuple(value(parser, key) for parser in both) for key in sorted(ids)}
    return {key: values for key, values in found.items() if values[0] != values[1]}


@pytest.mark.parametrize("pair", PAIRS)
def test_training_and_inference_say_the_same_of_what_both_name(pair):
    name, *mix_ins = PAIRS[pair]
    assert differences(name, *mix_ins) == MEANT.get(name, {}) | MEANT.get(pair, {})


def test_every_meant_difference_is_that_of_a_pair():
    assert MEANT.keys() <= PAIRS.keys()
    assert PAIRS["noisy_label_segmentation-volumes"][1:] == (["volumes"], ["volumes_inference"])


def test_a_mix_in_of_one_config_alone_is_told_apart():
    found = differences("brats_weak_cam_segmentation", ["second_stage"], [])
    assert found.keys() >= {"threshold", "averaging::average", "network_def::strides"}
    assert found["weights"] == ("./models/second_stage/model.pt", "./models/model.pt")
    assert [part["average"] for part in found["inferer::slice_inferer"]] == ["probs", "logits"]
