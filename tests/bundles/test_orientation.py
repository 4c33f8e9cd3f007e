"""Whatever way an image is stored, and whoever loads it, a bundle makes the same mask of it."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor, decollate_batch
from monai.transforms import LoadImaged, SaveImaged

from tests.bundles.conftest import BUNDLES, REPOSITORY, TINY
from tests.images.test_transforms import LPS, STORAGES

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code
SHAPE = (40, 36, 5)
NETWORKS = [
    *((name, None) for name in BUNDLES),
    ("noisy_label_segmentation", "volumes_inference"),
    ("brats_weak_cam_segmentation", "second_stage_inference"),
]
"""Bundles, and the mix-in of each further network that one ships."""
OF_MIX_IN = {
    "volumes_inference": {"channels": [4, 8, 8, 8]},
    "second_stage_inference": {"network_def::channels": [4, 8, 8, 8, 8], "threshold": 0.5},
}


class Tools:
    """What a tool takes out of a bundle's inference config, of tiny networks with random weights."""

    def __init__(self, name, mix_in=None):
        torch.manual_seed(0)
        self.root = REPOSITORY / "bundles" / name
        parser = ConfigParser()
        files = ["inference", mix_in] if mix_in else ["inference"]
        parser.read_config([str(self.root / "configs" / f"{file}.yaml") for file in files])
        parser.update({"bundle_root": str(self.root), **TINY[name].network, **OF_MIX_IN.get(mix_in, {})})
        self.network, self.inferer, self.preprocessing, self.postprocessing = (
            parser.get_parsed_content(key)
            for key in ("network", "inferer", "preprocessing", "postprocessing")
        )
        self.modalities = parser.get("modalities")
        self.affine = LPS if parser["orientation"] == "LPS" else np.diag([-1.0, -1, 1, 1]) @ LPS
        assert "".join(nib.aff2axcodes(self.affine)) == parser["orientation"]
        self.network.eval()

    def item(self, image):
        return {"image": image, **({"modalities": self.modalities} if self.modalities else {})}

    def pred(self, item):
        with torch.no_grad():
            scores = self.inferer(item["image"][None], self.network)
        return (
            scores - scores.flatten(2).median(dim=2).values[..., None, None, None]
        )  # so that no class has all

    def mask(self, image, loaded=False):
        """Of files, or of an array that the tool has loaded; the transforms run one by one."""
        item = self.item(image)
        for step in self.preprocessing.transforms:
            item = item if loaded and isinstance(step, LoadImaged) else step(item)
        item["pred"] = decollate_batch(self.pred(item))[0]
        for step in self.postprocessing.transforms:
            item = item if isinstance(step, SaveImaged) else step(item)
        return np.asarray(item["pred"][0])


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda names: names[1] or names[0])
def tools(request):
    return Tools(*request.param)


def scan(channel=0):
    """Voxels of one modality: a bright body in noise, of another shape in every slice."""
    grid = np.mgrid[tuple(slice(0, size) for size in SHAPE)].astype(float)
    noise = np.random.default_rng(channel).normal(0, 20, SHAPE)
    center = np.array([14 + channel, 20, 2]).reshape(3, 1, 1, 1)
    distance = np.sqrt((((grid - center) / np.array([8, 12, 3]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    return (np.where(distance < 1, 600, 100) + noise).clip(1).astype(np.float32)


def files(tools, folder, ornt):
    """The image stored in some way: one file, or one for each modality."""
    names = [f"p_{name}" for name in tools.modalities] if tools.modalities else ["p"]
    paths = []
    for channel, name in enumerate(names):
        image = nib.Nifti1Image(scan(channel), tools.affine).as_reoriented(np.array(ornt))
        path = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(np.ascontiguousarray(image.dataobj), image.affine), path)
        paths.append(str(path))
    return paths if tools.modalities else paths[0]


@pytest.mark.parametrize("ornt", [*STORAGES.values()][1:], ids=[*STORAGES][1:])
def test_every_storage_gives_the_same_mask(tools, tmp_path, ornt):
    (tmp_path / "other").mkdir()
    wanted = tools.mask(files(tools, tmp_path, STORAGES["as trained"]))
    assert wanted.shape == SHAPE and len(np.unique(wanted)) > 1
    found = tools.mask(files(tools, tmp_path / "other", ornt))
    back = nib.orientations.apply_orientation(wanted, np.array(ornt))
    np.testing.assert_array_equal(found, back)


@pytest.mark.filterwarnings(
    "ignore:Metadata not available:UserWarning", "ignore:Unknown original_channel_dim"
)
@pytest.mark.parametrize("kind", ["numpy", "tensor with affine", "tensor without"])
def test_a_tool_that_hands_over_the_array_gets_the_same_mask(tools, tmp_path, kind):
    wanted = tools.mask(files(tools, tmp_path, STORAGES["as trained"]))
    array = np.stack([scan(k) for k in range(len(tools.modalities))]) if tools.modalities else scan()
    affine = torch.as_tensor(tools.affine)
    channel_dim = 0 if tools.modalities else "no_channel"
    meta = {"affine": affine, "original_affine": affine, "original_channel_dim": channel_dim}
    image = array if kind == "numpy" else MetaTensor(array, meta=meta if kind.endswith("with affine") else {})
    np.testing.assert_array_equal(tools.mask(image, loaded=True), wanted)


@pytest.mark.parametrize("name", BUNDLES)
def test_the_metadata_say_the_orientation_of_the_configs(name):
    folder = REPOSITORY / "bundles" / name / "configs"
    said = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    for config in ("train", "inference"):
        parser = ConfigParser()
        parser.read_config(str(folder / f"{config}.yaml"))
        assert parser["orientation"] == said["network_data_format"]["inputs"]["image"]["orientation"]


@pytest.mark.parametrize("name", BUNDLES)
def test_postprocessing_holds_transforms_of_dictionaries_only(name):
    config = ConfigParser()
    config.read_config(str(REPOSITORY / "bundles" / name / "configs" / "inference.yaml"))
    config.update({"bundle_root": str(REPOSITORY / "bundles" / name), **TINY[name].network})
    for part in ("preprocessing", "postprocessing"):
        for step in config.get_parsed_content(part).transforms:
            assert hasattr(step, "keys") and not hasattr(step, "transforms"), step
