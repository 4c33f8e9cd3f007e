"""Data and checkpoints that cannot be used: one line naming the file, exit code not 0, nothing trained."""

import re
import shutil

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist import items
from tests.bundles.conftest import image_files

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


@pytest.fixture
def spoil(tmp_path):
    """Replaces a file of an item by a copy with its voxels mapped, or with a share of its bytes.

    Of an image of several modalities it is the first one's file.
    """

    def change(item, key, array=lambda voxels: voxels, keep=1.0):
        files = image_files(item) if key == "image" else [item[key]]
        old, new = nib.load(files[0]), tmp_path / f"spoiled_{key}.nii.gz"
        nib.save(nib.Nifti1Image(array(np.asanyarray(old.dataobj)), old.affine), new)
        new.write_bytes(new.read_bytes()[: int(keep * new.stat().st_size)])
        item[key] = [str(new), *files[1:]] if isinstance(item[key], list) else str(new)

    return change


def with_value(value):
    """Puts it at the first voxel of a copy."""

    def change(voxels):
        voxels = voxels.astype(np.result_type(voxels, np.min_scalar_type(value)))
        voxels[0, 0, 0] = value
        return voxels

    return change


def first(content, section="training"):
    return content[section][0]


def labeled(content):
    """The first case that has a label; where training has none, one of the validation list."""
    return next(item for item in (first(content), first(content, "validation")) if "label" in item)


BAD = {
    "missing image": (
        lambda content, spoil: first(content).update(image="/no/such.nii.gz"),
        r"training\[0\] \(.+\): image /no/such\.nii\.gz: Expected a file, got nothing",
    ),
    "truncated image": (
        lambda content, spoil: spoil(first(content), "image", keep=0.6),
        r"training\[0\] \(.+\): image .*spoiled_image\.nii\.gz: Expected a complete, readable image",
    ),
    "truncated label of a validation case": (
        lambda content, spoil: spoil(first(content, "validation"), "label", keep=0.9),
        r"validation\[0\] \(.+\): label .*spoiled_label\.nii\.gz: Expected a complete, readable image",
    ),
    "label of another shape": (
        lambda content, spoil: spoil(labeled(content), "label", lambda voxels: voxels[:-1]),
        r"\w+\[0\] \(.+\): label .*spoiled_label\.nii\.gz: Expected shape",
    ),
    "label outside the legal set": (
        lambda content, spoil: spoil(labeled(content), "label", with_value(7)),
        r"\w+\[0\] \(.+\): label .*spoiled_label\.nii\.gz: Expected values among \[0, .*\], got 7 ",
    ),
    "voxel that is not a number": (
        lambda content, spoil: spoil(
            first(content), "image", lambda v: with_value(np.nan)(v.astype(np.float32))
        ),
        r"training\[0\] \(.+\): image .*spoiled_image\.nii\.gz: Expected finite voxels, got NaN",
    ),
    "no training case": (
        lambda content, spoil: content.update(training=[]),
        "training: Expected at least one item, got an empty list",
    ),
    "patient in two splits": (
        lambda content, spoil: first(content, "validation").update(patient=first(content)["patient"]),
        r"validation\[0\] \(.+\): Expected patient .+ in one section only, got it in validation",
    ),
}


def assert_nothing_was_written(bundle):
    assert not bundle.models.exists() or not list(bundle.models.glob("*.pt"))
    assert not (bundle.root / "eval").exists()


@pytest.mark.parametrize("case", BAD)
def test_bad_data_end_the_program_with_one_line(bundle, write_datalist, spoil, case):
    change, message = BAD[case]
    bundle.data = write_datalist(lambda content: change(content, spoil))
    line, end = bundle.complaint("train").splitlines()
    assert re.match(message, line), line
    assert "nothing was trained or written" in end
    assert_nothing_was_written(bundle)


def test_bad_test_data_stop_the_evaluation(trained, write_datalist, spoil, tmp_path):
    def change(content):
        spoil(content["test"][0], "image", keep=0.5)

    options = {"dataset_dir": str(write_datalist(change)), "output_dir": str(tmp_path / "scores")}
    assert re.match(r"test\[0\] \(.+\): image .*spoiled_image", trained.complaint("evaluate", **options))
    assert not (tmp_path / "scores").exists()


def test_a_datalist_that_is_missing_is_named(bundle, tmp_path):
    bundle.data = tmp_path / "nowhere"
    assert f"Expected a datalist at {bundle.data}/datalist.json, found none" in bundle.complaint("train")
    assert_nothing_was_written(bundle)


def test_a_datalist_that_is_no_json_is_named(bundle, tmp_path):
    (tmp_path / "datalist.json").write_text("{")
    bundle.data = tmp_path
    assert "datalist.json: Expected JSON" in bundle.complaint("train")


def test_the_command_fails_with_the_message_and_without_a_traceback(bundle, write_datalist, spoil):
    bundle.data = write_datalist(lambda content: spoil(first(content), "image", keep=0.6))
    done = bundle.command("train")
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    *_, line, end = done.stderr.splitlines()
    assert line.startswith("training[0]") and "spoiled_image.nii.gz" in line
    assert end == "The data cannot be used as it is; nothing was trained or written."
    assert_nothing_was_written(bundle)


def test_a_damaged_checkpoint_ends_a_resume_with_one_line_and_without_a_traceback(bundle):
    bundle.models.mkdir(exist_ok=True)
    (bundle.models / "training").mkdir()
    checkpoint = bundle.models / "training" / "checkpoint.pt"
    checkpoint.write_bytes(b"PK damaged")
    done = bundle.command("train", resume=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"Expected {checkpoint} to be a whole checkpoint, got: ")
    assert checkpoint.read_bytes() == b"PK damaged" and not (bundle.models / "model.pt").exists()


def contradict(path):
    """Turns one marked voxel of a weak label, background into object or the other way round."""
    label = nib.load(path)
    voxels = np.asanyarray(label.dataobj).copy()
    marked = np.flatnonzero(voxels <= 1)[0]
    voxels.flat[marked] = 1 - voxels.flat[marked]
    nib.save(nib.Nifti1Image(voxels, label.affine), path)


def test_a_weak_label_that_was_changed_after_preparation_stops_the_training(bundle, data, tmp_path):
    bundle.data = shutil.copytree(data, tmp_path / "data")
    shutil.rmtree(bundle.data / "reference", ignore_errors=True)  # opening one would be a second problem
    training = items(bundle.data / "datalist.json", "training")
    weak = next(item for item in training if item["supervision"] != "full")
    if "label" not in weak:
        pytest.skip("a training without label files")
    contradict(weak["label"])
    line, _ = bundle.complaint("train").splitlines()
    assert f"] ({weak['case']}): label {weak['label']}: Expected the file that was there" in line
    assert line.endswith("check DATALIST --accept-changes")
    assert_nothing_was_written(bundle)
