"""ACDC's prepare script on a tiny raw folder: what it writes, what it hides, what it says about bad input."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from monai_ext.data.datalist import items, nested_subset, read_datalist
from monai_ext.keys import UNLABELED

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "datasets" / "acdc" / "prepare.py"
AFFINE = np.array([[-1.5, 0, 0, 10], [0, -1.5, 0, 20], [0, 0, 8, -5], [0, 0, 0, 1.0]])
PATIENTS = [f"patient{n:03d}" for n in range(1, 8)]

spec = importlib.util.spec_from_file_location("prepare_acdc", SCRIPT)
prepare_acdc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prepare_acdc)
app = typer.Typer()
app.command()(prepare_acdc.main)


def save(path, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), path)


def add_patient(folder, affine=AFFINE):
    """Two frames with a heart in two of three slices, their scribbles, and files to ignore."""
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\nHeight: 170.0\n")
    r, c = np.mgrid[:28, :32] - 14
    plane = np.select([r**2 + c**2 < 25, r**2 + c**2 < 60, r**2 + (c + 8) ** 2 < 50], [3, 2, 1], 0)
    truth = np.stack([plane, plane, 0 * plane], axis=-1).astype(np.uint8)
    scribble = np.full_like(truth, 4)
    scribble[::3, ::2] = truth[::3, ::2]
    rng = np.random.default_rng(int(folder.name[-3:]))
    for number in (1, 9):
        stem = folder / f"{folder.name}_frame{number:02d}"
        save(f"{stem}.nii.gz", (100 * truth + rng.integers(0, 50, truth.shape)).astype(np.int16), affine)
        save(f"{stem}_gt.nii.gz", truth, affine)
        save(f"{stem}_scribble.nii.gz", scribble, affine)
    save(folder / f"{folder.name}_frame05.nii.gz", truth.astype(np.int16))
    save(folder / f"{folder.name}_4d.nii.gz", np.zeros((4, 4, 2, 3), dtype=np.int16))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acdc")
    for name in PATIENTS:
        add_patient(folder / ("training" if name < "patient006" else "testing") / name)
    return folder


@pytest.fixture
def raw(pristine, tmp_path):
    """A copy to spoil, with five training patients, one for validation and one for the test."""
    folder = shutil.copytree(pristine, tmp_path / "raw")
    sections = ["training"] * 5 + ["validation", "test"]
    write_split(folder, zip(PATIENTS, sections, strict=True))
    return folder


def write_split(folder, rows):
    (folder / "split.csv").write_text("patient,split\n" + "".join(f"{n},{s}\n" for n, s in rows))


def run(raw, *options, out=None):
    out = out or raw.parent / "out"
    result = CliRunner().invoke(app, ["--raw", str(raw), "--out", str(out), *map(str, options)])
    return result, out


def prepared(raw, *options, out=None):
    result, out = run(raw, *options, out=out)
    assert result.exit_code == 0, result.output
    return out


def refused(raw, *options, message):
    """The command fails with one message of one line, and leaves nothing behind."""
    before = set(raw.parent.iterdir())
    result, _ = run(raw, *options)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    (line,) = result.output.strip().splitlines()
    assert re.search(message, line), line
    assert set(raw.parent.iterdir()) == before


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def frames(raw, section="training"):
    return {item["case"]: item for item in items(raw / "datalist.json", section)}


def gt(raw, case):
    (path,) = raw.rglob(f"{case}_gt.nii.gz")
    return voxels(path)


def test_every_frame_is_listed_once_with_its_kind(raw):
    out = prepared(raw, "--full", 2)
    listed = frames(out)
    assert sorted(listed) == [f"{name}_frame{n}" for name in PATIENTS[:5] for n in ("01", "09")]
    full = {item["patient"] for item in listed.values() if item["supervision"] == "full"}
    assert full == set(nested_subset(PATIENTS[:5], 2, 0))
    assert {item["supervision"] for item in listed.values()} == {"full", "partial"}
    for section, patient in (("validation", "patient006"), ("test", "patient007")):
        found = items(out / "datalist.json", section)
        assert {(item["patient"], item["supervision"]) for item in found} == {(patient, "full")}
    assert read_datalist(out / "datalist.json")["labels"] == {"0": "background", "1": "left ventricle cavity"}


@pytest.mark.parametrize(("task", "class_of"), [("lv", [0, 0, 0, 1]), ("heart", [0, 1, 2, 3])])
def test_weak_labels_are_true_and_full_ones_complete(raw, task, class_of):
    out = prepared(raw, "--task", task, "--full", 1, "--background", 3, "--ring-spots", 0)
    for case, item in frames(out).items():
        label, truth = voxels(item["label"]), np.array(class_of)[gt(raw, case)]
        said = label != UNLABELED
        np.testing.assert_array_equal(label[said], truth[said])
        assert said.all() == (item["supervision"] == "full")
        if item["supervision"] == "partial":
            assert set(np.unique(label)) == {*class_of, UNLABELED} and said.mean() < 0.1
            np.testing.assert_array_equal((label == 0).sum(axis=(0, 1)), 3)
            np.testing.assert_array_equal(voxels(out / "reference" / f"{case}.nii.gz"), truth)


def test_full_masks_of_weak_patients_lie_only_where_no_item_points(raw):
    out = prepared(raw, "--full", 1)
    weak = {case for case, item in frames(out).items() if item["supervision"] == "partial"}
    content = json.loads((out / "datalist.json").read_text())
    assert {i["case"]: i["reference"] for i in content["training"] if "reference" in i} == {
        case: f"reference/{case}.nii.gz" for case in weak
    }
    assert {path.name for path in (out / "reference").iterdir()} == {f"{case}.nii.gz" for case in weak}
    assert not any("reference" in json.dumps(item) for item in frames(out).values())
    assert not any(Path(i[k]).is_absolute() for i in content["training"] for k in ("image", "label"))


def test_image_and_label_keep_their_types_and_the_affine(raw):
    out = prepared(raw, "--full", 1)
    for case, item in frames(out).items():
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        np.testing.assert_array_equal(image.affine, AFFINE)
        np.testing.assert_array_equal(label.affine, AFFINE)
        assert image.header.get_zooms() == label.header.get_zooms()
        (source,) = raw.rglob(f"{case}.nii.gz")
        np.testing.assert_array_equal(voxels(item["image"]), voxels(source))


def test_the_same_seed_gives_the_same_files_and_another_does_not(raw, tmp_path):
    options = ("--weak", "random", "--full", 2, "--seed")
    a, b, c = (prepared(raw, *options, seed, out=tmp_path / f"o{i}") for i, seed in enumerate((1, 1, 2)))
    weak = [case for case, item in frames(a).items() if item["supervision"] == "partial"]
    assert (a / "datalist.json").read_text() == (b / "datalist.json").read_text()
    for case in weak:
        np.testing.assert_array_equal(voxels(frames(a)[case]["label"]), voxels(frames(b)[case]["label"]))
    assert any((voxels(frames(a)[case]["label"]) != voxels(frames(c)[case]["label"])).any() for case in weak)


def test_more_full_patients_leave_the_weak_labels_of_the_others_alone(raw, tmp_path):
    few, more = (frames(prepared(raw, "--full", n, out=tmp_path / f"o{n}")) for n in (1, 3))
    kinds = [{i["patient"] for i in f.values() if i["supervision"] == "full"} for f in (few, more)]
    assert len(kinds[0]) == 1 and len(kinds[1]) == 3 and kinds[0] < kinds[1]
    for case, item in more.items():
        if item["supervision"] == "partial":
            np.testing.assert_array_equal(voxels(item["label"]), voxels(few[case]["label"]))


@pytest.mark.parametrize(("full", "partial_cases"), [(0, 10), (5, 0), ("all", 0)])
def test_no_or_all_patients_may_have_full_masks(raw, full, partial_cases):
    kinds = [item["supervision"] for item in frames(prepared(raw, "--full", full)).values()]
    assert len(kinds) == 10 and kinds.count("partial") == partial_cases


def test_background_marks_lie_in_the_ring(raw):
    out = prepared(raw, "--full", 0, "--ring", 2, 4, "--ring-spots", 6, "--background", 0)
    r, c = np.mgrid[:28, :32] - 14
    for item in frames(out).values():
        label = voxels(item["label"])
        radius = np.sqrt(r**2 + c**2)[label[..., 0] == 0]
        assert len(radius) == 6 and (radius > 5).all() and (radius < 9.5).all()
        assert (label[..., 2] == 0).sum() == 6


def test_max_core_voxels_limits_each_slice(raw):
    out = prepared(raw, "--full", 0, "--weak", "centroid", "--max-core-voxels", 4)
    for item in frames(out).values():
        np.testing.assert_array_equal((voxels(item["label"]) == 1).sum(axis=(0, 1)), [4, 4, 0])


@pytest.mark.parametrize(("task", "class_of"), [("lv", [0, 0, 0, 1]), ("heart", [0, 1, 2, 3])])
def test_scribbles_become_weak_labels(raw, task, class_of):
    out = prepared(raw, "--full", 0, "--weak", "scribble", "--task", task)
    for case, item in frames(out).items():
        expected = np.full_like(gt(raw, case), UNLABELED)
        expected[::3, ::2] = np.array(class_of)[gt(raw, case)][::3, ::2]
        np.testing.assert_array_equal(voxels(item["label"]), expected)


def spoil_scribble(raw, count, value=2):
    """Draws `value` on the first `count` background voxels of a scribble."""
    (path,) = raw.rglob("patient002_frame01_scribble.nii.gz")
    scribble, truth = voxels(path).copy(), gt(raw, "patient002_frame01")
    drawn = np.flatnonzero((scribble == 0) & (truth == 0))[:count]
    scribble.flat[drawn] = value
    save(path, scribble)
    return drawn


def test_a_few_contradicting_scribble_voxels_are_left_unlabeled(raw, caplog):
    wrong = spoil_scribble(raw, 3)
    with caplog.at_level("INFO"):
        out = prepared(raw, "--full", 0, "--weak", "scribble", "--task", "heart")
    assert (voxels(frames(out)["patient002_frame01"]["label"]).flat[wrong] == UNLABELED).all()
    assert "patient002_frame01_scribble.nii.gz: 3 of 480 marked voxels contradict" in caplog.text


def test_without_split_csv_the_split_is_drawn_by_patient(pristine, tmp_path):
    out = prepared(pristine, "--split", "70/15/15", "--full", 1, out=tmp_path / "out")
    lists = {s: {i["patient"] for i in frames(out, s).values()} for s in ("training", "validation", "test")}
    assert {s: len(p) for s, p in lists.items()} == {"training": 5, "validation": 1, "test": 1}
    assert set.union(*lists.values()) == set(PATIENTS)


def test_split_test_puts_everything_in_the_test_list(raw):
    out = prepared(raw, "--split", "test")
    assert len(frames(out, "test")) == 14 and not frames(out) and not frames(out, "validation")


def test_the_unit_is_voxel_only_if_asked_or_if_the_spacing_was_lost(raw, tmp_path, caplog):
    def unit(folder, *options):
        out = prepared(
            folder, "--split", "test", *options, out=tmp_path / f"o{len(list(tmp_path.iterdir()))}"
        )
        return read_datalist(out / "datalist.json")["unit"]

    assert (unit(raw), unit(raw, "--spacing-unknown")) == ("mm", "voxel") and not caplog.text
    add_patient(tmp_path / "lost" / "patient001", np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert unit(tmp_path / "lost") == "voxel"
    assert "the spacing was lost" in caplog.text


def test_the_summary_counts_cases_patients_and_slices(raw):
    result, out = run(raw, "--full", 2)
    rows = [re.findall(r"[\w.%]+", line) for line in result.output.splitlines() if "│" in line]
    assert ["training", "full", "2", "4", "12", "100.000%"] in rows
    assert any(row[:5] == ["training", "partial", "3", "6", "18"] and float(row[5][:-1]) < 5 for row in rows)
    assert result.output.replace("\n", "").endswith(f"wrote {out}/datalist.json")


def test_an_output_that_exists_is_replaced_only_on_request(raw):
    out = prepared(raw, "--full", 1)
    refused(
        raw, message="error: Expected .*out to be empty, got files; choose another folder or pass --overwrite"
    )
    prepared(raw, "--split", "test", "--overwrite")
    assert len(frames(out, "test")) == 14 and len(list((out / "labels").iterdir())) == 14
    (out / "datalist.json").unlink()
    refused(raw, "--overwrite", message=r"Expected datalist\.json in a folder to overwrite")


def test_a_failure_leaves_the_old_output(raw):
    out = prepared(raw, "--full", 1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    next(raw.rglob("patient006_frame09.nii.gz")).write_bytes(b"\x1f\x8b broken")
    refused(raw, "--overwrite", message=r"patient006_frame09\.nii\.gz: Expected a complete, readable image")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_raw_data_are_never_overwritten(raw):
    (raw.parent / "datalist.json").write_text("{}")
    result, _ = run(raw, "--overwrite", out=raw.parent)
    assert result.exit_code == 1 and "Expected --out apart from --raw" in result.output
    assert raw.is_dir()


def remove(raw, name):
    next(raw.rglob(name)).unlink()


def rewrite(raw, name, change, affine=AFFINE):
    path = next(raw.rglob(name))
    save(path, change(voxels(path)), affine)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: remove(r, "patient003_frame01.nii.gz"),
            r"patient003_frame01\.nii\.gz: Expected this file",
        ),
        (
            lambda r: remove(r, "patient007_frame09_gt.nii.gz"),
            r"patient007_frame09_gt\.nii\.gz: Expected this",
        ),
        (
            lambda r: remove(r, "patient003_frame01_scribble.nii.gz"),
            r"_scribble\.nii\.gz: Expected this file",
        ),
        (lambda r: remove(r, "patient004/Info.cfg"), r"patient004/Info\.cfg: Expected ED.*got no file"),
        (lambda r: next(r.rglob("patient004/Info.cfg")).write_text("ED: 1"), r"004/Info\.cfg: .*got no 'ES'"),
        (
            lambda r: next(r.rglob("patient004/Info.cfg")).write_text("ED: x\nES: 2"),
            r"Info\.cfg: .*got .*'x'",
        ),
        (lambda r: next(r.rglob("patient004/Info.cfg")).write_bytes(b"\xff\xfe:"), r"Info\.cfg: Expected ED"),
        (
            lambda r: rewrite(r, "patient001_frame01_gt.nii.gz", lambda a: a[:-1]),
            r"_gt\.nii\.gz: Expected shape",
        ),
        (
            lambda r: rewrite(r, "patient001_frame01_gt.nii.gz", lambda a: a, np.eye(4)),
            r"patient001_frame01_gt\.nii\.gz: Expected the affine of .*patient001_frame01\.nii\.gz",
        ),
        (
            lambda r: rewrite(r, "patient001_frame01_gt.nii.gz", lambda a: a + 1),
            "Expected values among .* got 4",
        ),
        (lambda r: spoil_scribble(r, 30), r"002_frame01_scribble\.nii\.gz: .*contradiction in 30 of 480"),
        (lambda r: shutil.rmtree(r / "testing"), r"split\.csv: .*for patient006, patient007 \(2 in all\)"),
        (lambda r: add_patient(r / "patient099"), r"split\.csv: Expected a line .* for patient099"),
        (lambda r: add_patient(r / "patient001"), r"training/patient001: Expected each patient once"),
        (
            lambda r: write_split(r, [("patient001", "train")]),
            r"split\.csv: line 2: .*patient001, got 'train'",
        ),
        (
            lambda r: write_split(r, [("patient001", "training"), ("patient001", "test")]),
            r"split\.csv: line 3: Expected patient001 in one split",
        ),
        (lambda r: (r / "split.csv").write_text("name\n"), r"split\.csv: Expected the columns patient,split"),
        (lambda r: (r / "split.csv").unlink(), r"split\.csv or --split, got neither; pass --split FILE\.csv"),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, spoil, message):
    spoil(raw)
    refused(raw, "--full", 0, "--weak", "scribble", message=message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--full", 6), "Expected --full at most 5, the number of training patients, got 6"),
        (("--full", "-1"), "--full to be a number of patients or all, got '-1'"),
        (("--split", "half"), "Expected --split FILE.csv, test or shares such as 70/10/20, got 'half'"),
        (("--split", "1/1/1/1"), "Expected two or three shares"),
        (("--ring", 5, 2), r"ring \(near, far\) with 0 <= near <= far"),
    ],
)
def test_impossible_options_are_refused(raw, options, message):
    refused(raw, *options, message=message)


def test_a_folder_without_patients_is_refused(tmp_path):
    (tmp_path / "raw").mkdir()
    refused(tmp_path / "raw", message="Expected folders patientNNN with Info.cfg under .*raw, found none")


def test_it_runs_as_a_script_without_a_traceback(tmp_path):
    command = [sys.executable, SCRIPT, "--raw", tmp_path / "none", "--out", tmp_path / "out"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("error: Expected folders patientNNN")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


def test_real_patients_can_be_prepared(data_root, tmp_path):
    folders = sorted((data_root / "acdc").glob("patient*"))[:4]
    if len(folders) < 4:
        pytest.skip(f"no ACDC patients in {data_root}")
    (tmp_path / "raw").mkdir()
    for folder in folders:
        (tmp_path / "raw" / folder.name).symlink_to(folder)
    write_split(
        tmp_path / "raw", [(f.name, "validation" if f == folders[3] else "training") for f in folders]
    )
    out = prepared(tmp_path / "raw", "--full", 1, "--weak", "scribble", "--task", "heart")
    weak = [voxels(i["label"]) for i in frames(out).values() if i["supervision"] == "partial"]
    assert len(weak) == 4 and len(frames(out, "validation")) == 2
    assert all(0.002 < (label != UNLABELED).mean() < 0.05 for label in weak)
    assert read_datalist(out / "datalist.json")["unit"] == "voxel"
