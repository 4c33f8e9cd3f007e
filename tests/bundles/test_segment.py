"""What every bundle takes for an image, and what it leaves beside its masks."""

import csv

import nibabel as nib
import numpy as np
import pytest
from monai.bundle import ConfigParser

from monai_ext.datalist.datalist import items
from monai_ext.failures import message_of
from tests.bundles.conftest import read_image

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


@pytest.fixture
def save_image(data):
    """Saves the image of the first test case, all modalities in one file."""

    def save(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(
            nib.Nifti1Image(read_image(items(data / "datalist.json", "test")[0]), np.diag([1.5, 1.5, 8, 1])),
            path,
        )

    return save


def names(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*_seg.nii.gz"))


def rows(folder):
    with (folder / "volumes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_prepared_folder_is_the_default_input(trained, data, tmp_path):
    trained.run("infer", dataset_dir=str(data), output_dir=str(tmp_path / "out"))
    cases = {item["case"] for item in items(data / "datalist.json", "training", "validation", "test")}
    assert names(tmp_path / "out") == sorted(f"{case}_seg.nii.gz" for case in cases)
    assert {row["case"] for row in rows(tmp_path / "out")} == cases


def test_one_bad_file_costs_one_line_and_not_the_others(trained, save_image, tmp_path, caplog):
    save_image(tmp_path / "in" / "good.nii.gz")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"broken")
    (tmp_path / "in" / "._good.nii.gz").write_bytes(b"left by macOS")
    with pytest.raises(Exception) as stopped:
        trained.run("infer", input=str(tmp_path / "in"), output_dir=str(tmp_path / "out"))
    assert message_of(stopped.value) == "1 of 2 images was not segmented; see the lines above."
    assert names(tmp_path / "out") == ["good_seg.nii.gz"]
    errors = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1 and "bad.nii.gz: Expected a complete, readable image" in errors[0]


def test_equal_names_in_folders_stay_apart_and_results_never_become_images(trained, save_image, tmp_path):
    for patient in ("p1", "p 2"):
        save_image(tmp_path / patient / "imaging.nii.gz")
    for _ in range(2):
        trained.run("infer", input=str(tmp_path), output_dir=str(tmp_path / "out"), recursive=True)
        assert names(tmp_path) == ["out/p 2/imaging_seg.nii.gz", "out/p1/imaging_seg.nii.gz"]
    assert [row["mask"] for row in rows(tmp_path / "out")] == [
        "p 2/imaging_seg.nii.gz",
        "p1/imaging_seg.nii.gz",
    ]


def test_volumes_and_probabilities_are_those_of_the_mask(trained, save_image, tmp_path):
    save_image(tmp_path / "a.nii.gz")
    trained.run(
        "infer", input=str(tmp_path / "a.nii.gz"), output_dir=str(tmp_path), save_probabilities="true"
    )
    mask, probs = (nib.load(tmp_path / f"a_{what}.nii.gz") for what in ("seg", "prob"))
    parser = ConfigParser()
    parser.read_config(str(trained.root / "configs" / "inference.yaml"))
    labels = parser["labels"]
    assert probs.shape == (*mask.shape, len(labels)) and np.array_equal(probs.affine, mask.affine)
    np.testing.assert_allclose(probs.get_fdata().sum(-1), 1, atol=1e-5)
    (row,) = rows(tmp_path)
    for value, name in enumerate(labels[1:], start=1):
        number = int((mask.get_fdata() == value).sum())
        assert int(row[f"{name} [voxels]"]) == number
        assert float(row[f"{name} [mL]"]) == pytest.approx(number * 1.5 * 1.5 * 8 / 1000, abs=1e-3)
