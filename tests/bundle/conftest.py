import json
import sys

import monai.bundle
import pytest
import yaml

from monai_ext.bundle import hook

CONFIG = {
    "imports": ["$import torch", "$import monai_ext.bundle as bundle"],
    "bundle_root": ".",
    "dataset_dir": "$@bundle_root + '/data'",
    "input": "@dataset_dir",
    "output_dir": "$@bundle_root + '/eval'",
    "device": "$torch.device('cpu')",
    "resume": False,
    "seed": 0,
    "threshold": 0.5,
    "component": "highest",
    "spatial_size": [128, 128],
    "shares": [0, 1.5],
    "settings": {"threshold": "@threshold"},
    "network_def": {"_target_": "torch.nn.Linear", "in_features": "$len(@spatial_size)", "out_features": 1},
    "train": {
        "trainer": {"_target_": "builtins.dict", "max_epochs": 40, "resume": "@resume"},
        "loader": {"_target_": "monai_ext.handlers.EpochSeed", "seed": 3, "mixture": {"full": 1}},
        "view": {"_target_": "monai_ext.transforms.BatchAugmentation", "rotation": 20},
    },
    "initialize": ["$bundle.check_settings()", "$bundle.set_seed(@seed)"],
    "run": ["$@resume"],
}


@pytest.fixture
def bundle_folder(tmp_path):
    """A bundle with no data and no weights."""
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "train.yaml").write_text(yaml.safe_dump(CONFIG))
    (configs / "metadata.json").write_text(json.dumps({"monai_version": "1.0"}))
    return tmp_path


@pytest.fixture
def start(bundle_folder, monkeypatch):
    """``monai.bundle run`` with overrides, up to the end of ``initialize``; ``words`` are those typed."""
    monkeypatch.chdir(bundle_folder)

    def start(words=(), **overrides):
        monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *words])
        monkeypatch.setattr(hook, "is_program", lambda: True)
        return monai.bundle.create_workflow(
            config_file="configs/train.yaml", logging_file=False, **overrides
        ).parser

    return start
