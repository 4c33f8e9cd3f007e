"""What only the bundle for noisy labels does: it corrects labels, tells about it, and works in 3D too."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from monai_ext.data.datalist import items, write_datalist
from tests.bundles.conftest import CONFIGS, TINY, Copy, acdc

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
    recorded = bundle.load("checkpoint.pt")["correction"]["journal"]["changes"]
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
    with pytest.raises(SystemExit, match=f"got others for {changed['case']} "):
        bundle.run("train", epochs=3, resume=True, dataset_dir=str(tmp_path))


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


SMALL_3D = {"patch_size": [16, 16, 16], "channels": [4, 4, 8, 8]}


def test_volumes_are_learned_evaluated_and_segmented(volumes, tmp_path, monkeypatch):
    bundle = Copy(NAME, TINY[NAME]._replace(network={}), volumes, tmp_path / "bundle")
    mix_in = "configs/volumes.yaml"
    monkeypatch.setitem(CONFIGS, "train", ["configs/train.yaml", mix_in])
    monkeypatch.setitem(CONFIGS, "evaluate", ["configs/train.yaml", mix_in, "configs/evaluate.yaml"])
    monkeypatch.setitem(CONFIGS, "infer", ["configs/inference.yaml", "configs/volumes_inference.yaml"])
    bundle.run("train", **SMALL_3D)
    bundle.run("evaluate", **SMALL_3D)
    summary = json.loads((bundle.root / "eval" / "summary.json").read_text())
    assert set(summary["classes"]) == {"front", "back"} and len(summary["cases"]) == 1
    one = volumes / "image3.nii.gz"
    bundle.run("infer", input=str(one), channels=SMALL_3D["channels"])
    made = nib.load(bundle.root / "eval" / "predictions" / "image3_seg.nii.gz")
    assert made.shape == nib.load(one).shape and set(np.unique(made.get_fdata())) <= {0, 1, 2}
