"""Data that cannot be trained on: one line that names file and entry, exit code not 0, nothing written."""

import re

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


@pytest.fixture
def spoil(tmp_path):
    """Replaces a file of an item by a copy with its voxels mapped, or with a share of its bytes."""

    def change(item, key, array=lambda voxels: voxels, keep=1.0):
        old, new = nib.load(item[key]), tmp_path / f"spoiled_{key}.nii.gz"
        nib.save(nib.Nifti1Image(array(np.asanyarray(old.dataobj)), old.affine), new)
        new.write_bytes(new.read_bytes()[: int(keep * new.stat().st_size)])
        item[key] = str(new)

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
        lambda content, spoil: spoil(first(content), "label", lambda voxels: voxels[:-1]),
        r"training\[0\] \(.+\): label .*spoiled_label\.nii\.gz: Expected shape",
    ),
    "label outside the legal set": (
        lambda content, spoil: spoil(first(content), "label", with_value(7)),
        r"training\[0\] \(.+\): label .*spoiled_label\.nii\.gz: Expected values among \[0, .*\], got 7 ",
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
    with pytest.raises(SystemExit) as stopped:
        bundle.run("train")
    line, end = str(stopped.value.code).splitlines()
    assert re.match(message, line), line
    assert "nothing was trained or written" in end
    assert_nothing_was_written(bundle)


def test_bad_test_data_stop_the_evaluation(trained, write_datalist, spoil, tmp_path):
    def change(content):
        spoil(content["test"][0], "image", keep=0.5)

    with pytest.raises(SystemExit, match=r"test\[0\] \(.+\): image .*spoiled_image"):
        trained.run("evaluate", dataset_dir=str(write_datalist(change)), output_dir=str(tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def test_a_datalist_that_is_missing_is_named(bundle, tmp_path):
    bundle.data = tmp_path / "nowhere"
    with pytest.raises(SystemExit, match=f"Expected a datalist at {bundle.data}/datalist.json, found none"):
        bundle.run("train")
    assert_nothing_was_written(bundle)


def test_a_datalist_that_is_no_json_is_named(bundle, tmp_path):
    (tmp_path / "datalist.json").write_text("{")
    bundle.data = tmp_path
    with pytest.raises(SystemExit, match=r"datalist\.json: Expected JSON"):
        bundle.run("train")


def test_the_command_fails_with_the_message_and_without_a_traceback(bundle, write_datalist, spoil):
    bundle.data = write_datalist(lambda content: spoil(first(content), "image", keep=0.6))
    done = bundle.command("train")
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr + done.stdout
    assert "training[0]" in done.stderr and "spoiled_image.nii.gz" in done.stderr
    assert_nothing_was_written(bundle)
