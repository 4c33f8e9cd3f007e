"""SegTHOR's prepare script on phantoms: what it writes, what it hides, what it says about bad input."""

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.checks import check_datalist
from monai_ext.datalist.datalist import read_datalist
from monai_ext.phantoms.files import write_thorax_phantoms
from monai_ext.preparation.subsets import nested_subset
from monai_ext.transforms.label_noise import realized_iou
from tests.prepare_command import PrepareCommand, listed, summary_rows, voxels, write_split

COMMAND = PrepareCommand("segthor")
run, prepared, refusal = COMMAND.run, COMMAND.prepared, COMMAND.refusal
NAMES = [f"Patient_{n:02d}" for n in range(1, 6)]
SECTIONS = ["training", "training", "training", "validation", "test"]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """Every sixth slice of five phantoms, and an image without label as in the challenge's test set."""
    folder = write_thorax_phantoms(tmp_path_factory.mktemp("segthor"), patients=5)
    for path in folder.rglob("*.nii.gz"):
        whole = nib.load(path)
        nib.save(nib.Nifti1Image.from_bytes(whole.slicer[..., ::6].to_bytes()), path)
    (folder / "test").mkdir()
    shutil.copyfile(folder / "train/Patient_01/Patient_01.nii.gz", folder / "test/Patient_41.nii.gz")
    write_split(folder, zip(NAMES, SECTIONS, strict=True))
    return folder


@pytest.fixture
def raw(pristine, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(pristine, tmp_path / "raw")


def truth(raw, name):
    return voxels(raw / "train" / name / "GT.nii.gz")


def test_every_patient_is_listed_once_and_the_datalist_passes_its_check(raw):
    out = prepared(raw, "--full", 1, "--noise", "symmetric")
    assert list(listed(out, "validation")) == NAMES[3:4] and list(listed(out, "test")) == NAMES[4:]
    kinds = {name: item["supervision"] for name, item in listed(out).items()}
    (full,) = nested_subset(NAMES[:3], 1, 0)
    assert kinds == {name: "full" if name == full else "noisy" for name in NAMES[:3]}
    assert check_datalist(out / "datalist.json", references=True) == []


def test_classes_and_unit_are_those_of_segthor_and_the_name_says_phantoms(raw):
    content = read_datalist(prepared(raw) / "datalist.json")
    assert list(content["labels"].values()) == ["background", "esophagus", "heart", "trachea", "aorta"]
    assert content["unit"] == "mm" and "SegTHOR-like phantoms, computer-made" in content["name"]


def test_images_are_copied_in_hounsfield_units_and_labels_keep_the_grid(raw):
    out = prepared(raw, "--full", "all")
    for name, item in listed(out).items():
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert Path(item["image"]).read_bytes() == (raw / f"train/{name}/{name}.nii.gz").read_bytes()
        assert voxels(item["image"]).min() == -1024 and label.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(label.affine, image.affine)
        np.testing.assert_array_equal(voxels(item["label"]), truth(raw, name))


def test_noise_changes_the_training_labels_alone_and_keeps_the_clean_ones_apart(raw):
    out = prepared(raw, "--full", 0, "--noise", "symmetric")
    content = json.loads((out / "datalist.json").read_text())
    for item in content["training"]:
        noisy, clean = voxels(out / item["label"]), voxels(out / item["reference"])
        assert item["supervision"] == "noisy" and (noisy != clean).any()
        np.testing.assert_array_equal(clean, truth(raw, item["case"]))
    for item in (*content["validation"], *content["test"]):
        assert item["supervision"] == "full" and "reference" not in item
        np.testing.assert_array_equal(voxels(out / item["label"]), truth(raw, item["case"]))
    assert not any("reference" in json.dumps(item) for item in listed(out).values())


def test_the_iou_of_the_noise_is_reported_for_every_organ(raw):
    result, out = run(raw, "--full", 0, "--noise", "symmetric")
    pairs = [(voxels(i["label"]), truth(raw, name)) for name, i in listed(out).items()]
    iou = realized_iou(pairs, range(1, 5))
    organs = ("esophagus", "heart", "trachea", "aorta")
    expected = ", ".join(f"{organ} {iou[k]:.3f}" for k, organ in enumerate(organs, start=1))
    assert expected in read_datalist(out / "datalist.json")["description"]
    assert expected in " ".join(result.output.split())


def test_a_share_of_the_patients_can_be_corrupted(raw):
    out = prepared(raw, "--full", 0, "--noise", "hurried", "--noise-share", 0.34)
    changed = [n for n, i in listed(out).items() if (voxels(i["label"]) != truth(raw, n)).any()]
    assert len(changed) == 1
    assert f"corrupted: {changed[0]}" in read_datalist(out / "datalist.json")["description"]


def test_without_noise_the_other_patients_have_no_label(raw):
    out = prepared(raw, "--full", 1)
    kinds = [item["supervision"] for item in listed(out).values()]
    assert sorted(kinds) == ["full", "none", "none"]
    assert all(("label" in item) == (item["supervision"] == "full") for item in listed(out).values())
    assert len(list((out / "labels").iterdir())) == 3 and len(list((out / "reference").iterdir())) == 2


def test_the_same_seed_gives_the_same_labels_and_another_does_not(raw, tmp_path):
    options = ("--full", 0, "--noise", "symmetric", "--seed")
    a, b, c = (prepared(raw, *options, seed, out=tmp_path / f"o{i}") for i, seed in enumerate((1, 1, 2)))
    assert (a / "datalist.json").read_text() == (b / "datalist.json").read_text()
    same = [
        [(voxels(listed(x)[n]["label"]) == voxels(listed(a)[n]["label"])).all() for n in NAMES[:3]]
        for x in (b, c)
    ]
    assert all(same[0]) and not any(same[1])


def test_folders_may_lie_at_any_depth_and_plain_test_images_are_left_out(raw, tmp_path):
    deep = tmp_path / "deep" / "SegTHOR"
    shutil.move(raw, deep)
    out = prepared(deep.parent, "--split", "60/20/20", out=tmp_path / "out")
    patients = {i["patient"] for s in ("training", "validation", "test") for i in listed(out, s).values()}
    assert patients == set(NAMES)


def test_uncompressed_files_are_read_too(raw):
    folder = raw / "train/Patient_05"
    for name in ("Patient_05", "GT"):
        nib.save(nib.load(folder / f"{name}.nii.gz"), folder / f"{name}.nii")
        (folder / f"{name}.nii.gz").unlink()
    (item,) = listed(prepared(raw), "test").values()
    assert item["image"].endswith("images/Patient_05.nii")
    np.testing.assert_array_equal(voxels(item["label"]), voxels(folder / "GT.nii"))


def test_images_that_are_not_in_hounsfield_units_are_pointed_out(raw, caplog):
    prepared(raw)
    assert not caplog.text
    rewrite(raw, "Patient_02/Patient_02.nii.gz", lambda a: np.clip((a + 160) * 0.6, 0, 255).astype(np.int16))
    prepared(raw, "--overwrite")
    assert re.search(r"Patient_02\.nii\.gz: Expected Hounsfield units .* no value below 0", caplog.text)


def test_the_summary_counts_patients_and_slices(raw):
    result, out = run(raw, "--full", 1, "--noise", "shift")
    rows = summary_rows(result)
    slices = {item["case"]: nib.load(item["image"]).shape[2] for item in listed(out).values()}
    noisy = [name for name, item in listed(out).items() if item["supervision"] == "noisy"]
    assert ["training", "noisy", "2", "2", str(sum(slices[n] for n in noisy)), "100.000%"] in rows


def test_an_output_that_exists_is_replaced_only_on_request(raw):
    prepared(raw)
    message = "Expected .*out to be empty, got files; choose another folder or pass --overwrite"
    assert re.search(message, refusal(raw))
    out = prepared(raw, "--split", "test", "--overwrite")
    assert list(listed(out, "test")) == NAMES


def test_the_raw_data_are_never_overwritten(raw):
    result, _ = run(raw, "--overwrite", out=raw.parent)
    assert result.exit_code == 1 and "Expected --out apart from --raw" in str(result.exception)
    assert len(list(raw.rglob("GT.nii.gz"))) == 5


def rewrite(raw, name, change, shift=0.0):
    path = raw / "train" / name
    file = nib.load(path)
    affine = file.affine.copy()
    affine[0, 3] += shift
    nib.save(nib.Nifti1Image(change(np.asarray(file.dataobj)), affine), path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: (r / "train/Patient_02/GT.nii.gz").unlink(),
            r"Patient_02/GT\.nii\.gz: Expected this file, found none; restore it or take out the patient",
        ),
        (
            lambda r: (r / "train/Patient_03/Patient_03.nii.gz").unlink(),
            r"Patient_03/Patient_03\.nii\.gz: Expected this file",
        ),
        (
            lambda r: rewrite(r, "Patient_01/GT.nii.gz", lambda a: a[:-1]),
            r"Patient_01/GT\.nii\.gz: Expected shape .* as in .*Patient_01\.nii\.gz",
        ),
        (
            lambda r: rewrite(r, "Patient_01/GT.nii.gz", lambda a: a, shift=3.0),
            r"GT\.nii\.gz: Expected the affine of .*Patient_01\.nii\.gz.* origin by 3",
        ),
        (
            lambda r: rewrite(r, "Patient_04/GT.nii.gz", lambda a: a + (a == 4)),
            r"Patient_04/GT\.nii\.gz: Expected values among \[0, 1, 2, 3, 4\], got 5",
        ),
        (
            lambda r: (r / "train/Patient_05/Patient_05.nii.gz").write_bytes(b"\x1f\x8b broken"),
            r"Patient_05\.nii\.gz: Expected a complete, readable image",
        ),
        (
            lambda r: shutil.copytree(r / "train/Patient_01", r / "more/Patient_01"),
            r"Expected each case once, got a copy of .*GT\.nii\.gz; leave one of the two out",
        ),
        (
            lambda r: write_split(r, [("Patient_01", "validation"), ("Patient_01", "test")]),
            r"split\.csv: line 3: Expected Patient_01 in one split, got validation and test",
        ),
        (
            lambda r: write_split(r, zip(NAMES[:4], SECTIONS, strict=False)),
            r"split\.csv: Expected a line .* for Patient_05",
        ),
        (lambda r: (r / "split.csv").unlink(), r"split\.csv or --split, got neither"),
        (
            lambda r: shutil.rmtree(r / "train"),
            r"Expected folders Patient_NN with GT\.nii\.gz under .*raw, found none "
            r"but other images \(1\), such as test/Patient_41\.nii\.gz; check --raw",
        ),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, spoil, message):
    spoil(raw)
    assert re.search(message, refusal(raw, "--full", 0, "--noise", "shift"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--full", 4), "Expected --full at most 3, the number of training patients, got 4"),
        (("--noise", "loud"), "Expected --noise one of symmetric, .*, got loud"),
        (("--full", "all", "--noise", "shift"), "training patients left for --noise, got none"),
        (("--noise-share", 0.5), "Expected a --noise that uses --noise-share, got none"),
        (("--split", "half"), "Expected --split FILE.csv, test or shares such as 70/10/20, got 'half'"),
    ],
)
def test_impossible_options_are_refused(raw, options, message):
    assert re.search(message, refusal(raw, *options))


def test_it_runs_as_a_script_without_a_traceback(tmp_path):
    done = COMMAND.as_script(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Expected folders Patient_NN")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_patients_of_one_name_in_different_folders_are_both_written(raw):
    shutil.copytree(raw / "train/Patient_02", raw / "second/Patient_02")
    rewrite(raw, "../second/Patient_02/Patient_02.nii.gz", lambda a: a + 1)
    out = COMMAND.prepared(raw, "--split", "test")
    assert {"second_Patient_02", "train_Patient_02", "Patient_01"} <= set(listed(out, "test"))
