"""ACDC's prepare script on a tiny raw folder: what it refuses, and what it leaves as it was."""

import re
import shutil

import numpy as np
import pytest

from monai_ext.datalist.datalist import items
from tests.prepare_command import PrepareCommand


def test_an_output_that_exists_is_replaced_only_on_request(raw):
    out = raw.prepared("--full", 1)
    message = f"Expected {out} to be empty, got files; choose another folder or pass --overwrite"
    assert message in raw.refusal()
    raw.prepared("--split", "test", "--overwrite")
    assert len(items(out / "datalist.json", "test")) == len(list((out / "labels").iterdir())) == 14
    (out / "datalist.json").unlink()
    assert "Expected datalist.json in a folder to overwrite" in raw.refusal("--overwrite")


def test_a_failure_leaves_the_old_output(raw):
    out = raw.prepared("--full", 1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    raw.file("patient006_frame09.nii.gz").write_bytes(b"\x1f\x8b broken")
    unreadable = "patient006_frame09.nii.gz: Expected a complete, readable image"
    assert unreadable in raw.refusal("--overwrite")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_the_raw_data_are_never_overwritten(raw):
    (raw.folder.parent / "datalist.json").write_text("{}")
    result, _ = raw.run("--overwrite", out=raw.folder.parent)
    assert result.exit_code == 1 and "Expected --out apart from --raw" in str(result.exception)
    assert raw.folder.is_dir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda r: r.file("patient003_frame01.nii.gz").unlink(),
            r"patient003_frame01\.nii\.gz: Expected this file",
        ),
        (
            lambda r: r.file("patient007_frame09_gt.nii.gz").unlink(),
            r"patient007_frame09_gt\.nii\.gz: Expected this",
        ),
        (
            lambda r: r.file("patient003_frame01_scribble.nii.gz").unlink(),
            r"_scribble\.nii\.gz: Expected this file",
        ),
        (lambda r: r.file("patient004/Info.cfg").unlink(), r"patient004/Info\.cfg: Expected ED.*got no file"),
        (lambda r: r.file("patient004/Info.cfg").write_text("ED: 1"), r"004/Info\.cfg: .*got no 'ES'"),
        (
            lambda r: r.file("patient004/Info.cfg").write_text("ED: x\nES: 2"),
            r"Info\.cfg: .*got .*'x'",
        ),
        (lambda r: r.file("patient004/Info.cfg").write_bytes(b"\xff\xfe:"), r"Info\.cfg: Expected ED"),
        (
            lambda r: r.rewrite("patient001_frame01_gt.nii.gz", lambda a: a[:-1]),
            r"_gt\.nii\.gz: Expected shape",
        ),
        (
            lambda r: r.rewrite("patient001_frame01_gt.nii.gz", lambda a: a, np.eye(4)),
            r"patient001_frame01_gt\.nii\.gz: Expected the affine of .*patient001_frame01\.nii\.gz",
        ),
        (
            lambda r: r.rewrite("patient001_frame01_gt.nii.gz", lambda a: a + 1),
            "Expected values among .* got 4",
        ),
        (lambda r: r.spoil_scribble(30), r"002_frame01_scribble\.nii\.gz: .*contradiction in 30 of 480"),
        (
            lambda r: shutil.rmtree(r.file("testing")),
            r"split\.csv: .*for patient006, patient007 \(2 in all\)",
        ),
        (lambda r: r.add_patient("patient099"), r"split\.csv: Expected a line .* for patient099"),
        (
            lambda r: r.add_patient("patient001"),
            r"Expected each case once, got a copy|Expected data of every patient .* patient001",
        ),
        (
            lambda r: r.write_split([("patient001", "train")]),
            r"split\.csv: line 2: .*patient001, got 'train'",
        ),
        (
            lambda r: r.write_split([("patient001", "training"), ("patient001", "test")]),
            r"split\.csv: line 3: Expected patient001 in one split",
        ),
        (
            lambda r: r.file("split.csv").write_text("name\n"),
            r"split\.csv: Expected the columns patient,split",
        ),
        (
            lambda r: r.file("split.csv").unlink(),
            r"split\.csv or --split, got neither; pass --split FILE\.csv",
        ),
    ],
)
def test_bad_input_gets_one_message_and_no_output(raw, spoil, message):
    spoil(raw)
    line = raw.refusal("--full", 0, "--weak", "scribble")
    assert re.search(message, line), line


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
    line = raw.refusal(*options)
    assert re.search(message, line), line


def test_a_folder_without_patients_is_refused(empty):
    message = f"Expected folders patientNNN with Info.cfg under {empty.folder}, found none"
    assert message in empty.refusal()


def test_it_runs_as_a_script_without_a_traceback(tmp_path):
    done = PrepareCommand("acdc").as_script(tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("Expected folders patientNNN")
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []
