import re
import warnings

import pytest
import torch
from monai.metrics import compute_hausdorff_distance
from monai.transforms import LoadImage

from monai_ext import bundle
from monai_ext.bundle.packages import installed_version
from tests.exit_messages import message_of


def metadata(monai="1.0", torch_version="2.0", **others):
    return {"monai_version": monai, "pytorch_version": torch_version, "required_packages_version": others}


def test_installed_packages_satisfy():
    bundle.require_packages(metadata(monai="1.5", numpy="1.20", nibabel="3"))


def test_a_local_version_satisfies(monkeypatch):
    monkeypatch.setattr("monai_ext.bundle.packages.version", lambda name: "2.10.0+cpu")
    bundle.require_packages(metadata(monai="2.9.1", torch_version="2.10.0"))
    newer = metadata(monai="2.9.1", torch_version="2.10.1")
    assert "expected torch >= 2.10.1, got 2.10.0+cpu" in message_of(bundle.require_packages, newer)


def test_says_what_is_too_old_or_missing_and_what_to_install():
    message = message_of(
        bundle.require_packages, metadata(monai="99.1", nibabel="3", **{"no-such-package": "2.5"})
    )
    assert re.search(r"expected monai >= 99\.1, got 1\.\d", message)
    assert "expected no-such-package >= 2.5, got none" in message
    assert message.endswith("pip install 'monai>=99.1' 'no-such-package>=2.5'")
    assert "torch" not in message and "nibabel" not in message


def test_what_a_tool_did_not_load_is_not_asked_for():
    bundle.require_packages({})
    assert "torch >= 99.0, got 2" in message_of(bundle.require_packages, {"pytorch_version": "99.0"})


def test_our_own_package_is_never_looked_for_on_a_registry():
    message = message_of(bundle.require_packages, metadata() | {"monai_ext_version": "99"})
    assert message.endswith("try pip install -e . in a clone of this bundle's repository")
    assert installed_version("monai_ext") in message


def test_of_all_warnings_those_inside_monai_are_hidden():
    onehot = torch.eye(2).reshape(1, 1, 2, 2)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        bundle.ignore_warnings_inside_monai()
        LoadImage()
        compute_hausdorff_distance(onehot, onehot, include_background=True)
        warnings.warn("something else", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["something else"]


@pytest.mark.parametrize(("gpus", "device"), [(False, "cpu"), (True, "cuda:3")])
def test_a_process_has_the_gpu_of_its_rank(monkeypatch, gpus, device):
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus)
    assert bundle.local_device() == torch.device(device)
