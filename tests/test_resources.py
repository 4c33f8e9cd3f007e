from pathlib import Path

import pytest

from monai_ext import resources
from monai_ext.resources import bundle_folder, prepare_script
from tests.exit_messages import message_of

REPOSITORY = Path(__file__).resolve().parents[1]


def test_a_checkout_has_the_originals():
    assert bundle_folder("noisy_label_segmentation") == REPOSITORY / "bundles" / "noisy_label_segmentation"
    for folder in (REPOSITORY / "datasets").glob("*/prepare.py"):
        assert prepare_script(folder.parent.name) == folder


def test_an_installed_package_has_copies(tmp_path, monkeypatch):
    (tmp_path / "datasets" / "x").mkdir(parents=True)
    monkeypatch.setattr(resources, "SHIPPED", tmp_path)
    assert prepare_script("x") == tmp_path / "datasets" / "x" / "prepare.py"


@pytest.mark.parametrize("name", ["", "..", "brain"])
def test_an_unknown_name_is_refused_with_those_there_are(name):
    assert message_of(bundle_folder, name).startswith(
        "Expected a bundle among brats_weak_cam_segmentation, lv_"
    )
