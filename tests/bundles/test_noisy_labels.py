"""What only the bundle for noisy labels does: it corrects labels, tells about it, and works in 3D too."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser
from monai.transforms import LoadImaged

from monai_ext.datalist.datalist import items, write_datalist
from tests.bundles.conftest import REPOSITORY, TINY, Copy, acdc

NAME = "noisy_label_segmentation"
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    return acdc(tmp_path_factory.mktemp("hearts"), task="heart", noise=["symmetric"])


@pytest.fixture
def copy(hearts, tmp_path):
    return lambda place: Copy(NAME, TINY[NAME], hearts, tmp_path / place)


def read(file):
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_training_leaves_a_review_of_the_labels(copy, hearts):
    bundle = copy("bundle")
    bundle.run("train", epochs=3)
    review = bundle.root / "eval" / "label_review"
    noisy = {i["case"]: i for i in items(hearts / "datalist.json", "training") if i["supervision"] == "noisy"}
    ranking = read(review / "ranking.csv")
    assert sorted(row["case"] for row in ranking) == sorted(noisy)
    assert [float(row["doubt"]) for row in ranking] == sorted(
        (float(r["doubt"]) for r in ranking), reverse=True
    )
    assert set(json.loads((review / "curves.json").read_text())) == {
        "right ventricle",
        "myocardium",
        "left ventricle cavity",
    }
    assert (review / "curves.png").stat().st_size > 1000
    recorded = bundle.load("training/checkpoint.pt")["correction"]["journal"]["changes"]
    assert {epoch for epoch, *_ in recorded} == {1, 2}  # else test_resume.py would compare nothing
    changed = {row["case"] for row in read(review / "changes.csv")}
    assert changed and {file.name.split(".")[0] for file in (review / "corrected").iterdir()} == changed
    for case in changed:
        old, new = nib.load(noisy[case]["label"]), nib.load(review / "corrected" / f"{case}.nii.gz")
        assert new.shape == old.shape and np.allclose(new.affine, old.affine)
        assert (new.get_fdata() != old.get_fdata()).any()


def test_a_resume_with_other_label_files_is_refused_and_names_the_case(copy, hearts, tmp_path):
    bundle = copy("bundle")
    bundle.run("train", epochs=2)
    content = json.loads((hearts / "datalist.json").read_text())
    changed = next(item for item in content["training"] if item["supervision"] == "noisy")
    for key in ("image", "label", "reference"):
        for item in [i for section in ("training", "validation", "test") for i in content[section]]:
            if key in item:
                item[key] = str(hearts / item[key])
    label = nib.load(changed["label"])
    nib.save(
        nib.Nifti1Image(label.get_fdata().astype(np.uint8)[::-1], label.affine), tmp_path / "other.nii.gz"
    )
    changed["label"] = str(tmp_path / "other.nii.gz")
    del changed["label_sha256"]
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    message = bundle.complaint("train", epochs=3, resume=True, dataset_dir=str(tmp_path))
    assert f"got others for {changed['case']} " in message


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """Small volumes of two classes, all but one with noisy labels."""
    folder, rng = tmp_path_factory.mktemp("volumes"), np.random.default_rng(0)
    listed = {"training": [], "validation": []}
    for n, section in enumerate(["training"] * 3 + ["validation"]):
        label = np.zeros((20, 18, 22), np.uint8)
        label[5:12, 4:12, 4:11], label[5:12, 4:12, 11:18] = 1, 2
        image = (label + 0.1 * rng.standard_normal(label.shape)).astype(np.float32)
        item = {"supervision": "noisy" if n < 3 else "full", "case": f"c{n}", "patient": f"c{n}"}
        for key, array in (("image", image), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{key}{n}.nii.gz")
            item[key] = f"{key}{n}.nii.gz"
        listed[section].append(item)
    labels = {0: "background", 1: "front", 2: "back"}
    write_datalist(folder / "datalist.json", name="boxes", labels=labels, **listed)
    return folder


@pytest.fixture(scope="module")
def thoraxes(tmp_path_factory):
    """Two CT volumes in Hounsfield units: a body with four organs in air."""
    folder, rng = tmp_path_factory.mktemp("thoraxes"), np.random.default_rng(0)
    listed = {"training": [], "validation": []}
    for n, section in enumerate(listed):
        label = np.zeros((40, 36, 6), np.uint8)
        for k in range(1, 5):
            label[8 * k - 2 : 8 * k + 4, 10:26] = k
        image = np.where(label > 0, 60 * label - 150, -1000) + 5 * rng.standard_normal(label.shape)
        item = {"supervision": ("noisy", "full")[n], "case": f"c{n}", "patient": f"c{n}"}
        for key, array in (("image", image.astype(np.int16)), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{key}{n}.nii.gz")
            item[key] = f"{key}{n}.nii.gz"
        listed[section].append(item)
    labels = {0: "background", 1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"}
    write_datalist(folder / "datalist.json", name="bars", labels=labels, **listed)
    return folder


def test_ct_is_learned_evaluated_and_segmented(thoraxes, tmp_path):
    bundle = Copy(NAME, TINY[NAME], thoraxes, tmp_path / "bundle")
    bundle.run("train", mix_ins=["ct"])
    bundle.run("evaluate", mix_ins=["ct"])
    summary = json.loads((bundle.root / "eval" / "summary.json").read_text())
    assert list(summary["classes"]) == ["esophagus", "heart", "trachea", "aorta"]
    one = thoraxes / "image1.nii.gz"
    bundle.run("infer", mix_ins=["ct"], input=str(one))
    assert nib.load(bundle.root / "eval" / "predictions" / "image1_seg.nii.gz").shape == nib.load(one).shape


@pytest.mark.parametrize("name", ["train", "inference"])
def test_the_mix_in_for_ct_shows_the_network_a_window_of_hounsfield_units(tmp_path, name):
    image = np.array([-1000, -160, 20, 240, 1500], np.int16).reshape(5, 1, 1)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "image.nii.gz")
    parser = ConfigParser()
    parser.read_config([str(REPOSITORY / "bundles" / NAME / "configs" / f"{n}.yaml") for n in (name, "ct")])
    load = LoadImaged("image", ensure_channel_first=True)
    seen = parser.get_parsed_content("scale_intensity")(load({"image": tmp_path / "image.nii.gz"}))["image"]
    assert seen.flatten().tolist() == pytest.approx([0, 0, 0.45, 1, 1])


SMALL_3D = {"patch_size": [16, 16, 16], "channels": [4, 4, 8, 8]}


def test_volumes_are_learned_evaluated_and_segmented(volumes, tmp_path):
    bundle = Copy(NAME, TINY[NAME]._replace(network={}), volumes, tmp_path / "bundle")
    bundle.run("train", mix_ins=["volumes"], **SMALL_3D)
    bundle.run("evaluate", mix_ins=["volumes"], **SMALL_3D)
    summary = json.loads((bundle.root / "eval" / "summary.json").read_text())
    assert set(summary["classes"]) == {"front", "back"} and len(summary["cases"]) == 1
    one = volumes / "image3.nii.gz"
    bundle.run("infer", mix_ins=["volumes_inference"], input=str(one), channels=SMALL_3D["channels"])
    made = nib.load(bundle.root / "eval" / "predictions" / "image3_seg.nii.gz")
    assert made.shape == nib.load(one).shape and set(np.unique(made.get_fdata())) <= {0, 1, 2}
