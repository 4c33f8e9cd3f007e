"""What a report refuses before it computes anything."""

import json

import pytest
import torch
import yaml

from monai_ext.report import Predictor
from tests.exit_messages import message_of

TRAIN = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/data'",
    "datalist": "$@dataset_dir + '/datalist.json'",
    "device": "cpu",
    "num_classes": 2,
    "network": {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": "@num_classes"},
    "validate": {"inferer": None, "preprocessing": None, "postprocessing": None},
}


@pytest.fixture
def folder(tmp_path):
    """A bundle with a mix-in and weights, and data of two classes."""
    for name in ("configs", "data"):
        (tmp_path / name).mkdir()
    configs = {"train": TRAIN, "ct": {"num_classes": 3}, "inference": {}}
    configs["evaluate"] = {"weights": "$@bundle_root + '/model.pt'"}
    for name, config in configs.items():
        (tmp_path / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(config))
    content = {"labels": {"0": "background", "1": "heart"}, "training": []}
    (tmp_path / "data/datalist.json").write_text(json.dumps(content))
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "model.pt")
    return tmp_path


def refusal(folder, **options):
    return message_of(Predictor, folder, folder / "data", **options)


def test_what_fits_is_taken(folder):
    assert Predictor(folder, folder / "data", overrides={"num_classes": "2"}).network.out_features == 2


@pytest.mark.parametrize("name", ["nope", "inference"])
def test_another_mix_in_is_refused_with_those_that_there_are(folder, name):
    message = refusal(folder, mix_ins=[name])
    assert message == f"Expected --mix-in among ct, as {folder / 'configs'} has them, got '{name}'."


def test_an_unknown_id_is_refused(folder):
    assert "Expected an id of the config, got --foo" in refusal(folder, overrides={"foo": 4})


@pytest.mark.parametrize("options", [{"overrides": {"num_classes": 3}}, {"mix_ins": ["ct"]}])
def test_a_datalist_of_other_classes_is_refused(folder, options):
    message = refusal(folder, **options)
    assert "Expected 3 classes, as num_classes says, got 2: background, heart" in message
    assert "--override ID=VALUE" in message and "\n" not in message


def test_weights_of_another_network_are_named_in_one_line(folder):
    other = folder / "other.pt"
    torch.save(torch.nn.Linear(3, 4).state_dict(), other)
    message = refusal(folder, weights=other)
    assert message.startswith(f"Expected weights weight of shape (2, 3) in {other}, got (4, 3)")
    assert "\n" not in message
