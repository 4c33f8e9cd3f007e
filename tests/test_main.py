import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from monai_ext import __version__
from monai_ext.__main__ import EXAMPLES, app, run
from monai_ext.datalist import write_datalist
from monai_ext.errors import InputError


@pytest.fixture
def datalist(tmp_path):
    """One full training case and two cases, of one patient, for validation."""
    rng = np.random.default_rng(0)
    mask = np.zeros((4, 4, 4), np.uint8)
    mask[1:3, 1:3] = 1
    content = {"labels": {"0": "background", "1": "cavity"}, "training": [], "validation": []}
    for section, patient, case in [
        ("training", "a", "a1"),
        ("validation", "b", "b1"),
        ("validation", "b", "b2"),
    ]:
        nib.save(nib.Nifti1Image(rng.normal(size=mask.shape), np.eye(4)), tmp_path / f"{case}.nii.gz")
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / f"{case}_label.nii.gz")
        item = {"image": f"{case}.nii.gz", "label": f"{case}_label.nii.gz", "case": case, "patient": patient}
        content[section].append({**item, "supervision": "full"})
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps(content))
    return path


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_a_clean_datalist_is_summed_up(datalist):
    result = check(datalist)
    assert result.exit_code == 0 and result.stdout.endswith("no problem found\n")
    words = [line.replace("│", " ").split() for line in result.stdout.splitlines()]
    assert ["training", "full", "1", "1"] in words and ["validation", "full", "2", "1"] in words


def test_problems_come_one_a_line_and_exit_with_1(datalist):
    for case in ("a1", "b2"):
        (datalist.parent / f"{case}.nii.gz").write_bytes(b"\x1f\x8b")
    result = check(datalist)
    first, second = result.stderr.splitlines()
    assert not result.stdout
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert first.startswith(f"training[0] (a1): image {datalist.parent / 'a1.nii.gz'}: Expected")
    assert second.startswith(f"validation[1] (b2): image {datalist.parent / 'b2.nii.gz'}: Expected")


def test_references_are_compared_unless_told_otherwise(datalist):
    content = json.loads(datalist.read_text())
    content["training"][0] |= {"supervision": "partial", "reference": "lost.nii.gz"}
    datalist.write_text(json.dumps(content))
    assert "reference" in (result := check(datalist)).stderr and result.exit_code == 1
    assert check(datalist, "--no-references").exit_code == 0


def test_one_section_can_be_checked_alone(datalist):
    (datalist.parent / "a1.nii.gz").unlink()
    assert check(datalist, "--section", "validation").exit_code == 0
    assert check(datalist, "--section", "training").exit_code == 1
    result = check(datalist, "--section", "tset")
    assert result.exit_code == 1 and "got tset" in result.stderr


@pytest.mark.parametrize("text", [None, "no JSON", '{"training": []}'])
def test_a_datalist_that_cannot_be_read_is_told_without_a_traceback(tmp_path, text):
    path = tmp_path / "datalist.json"
    if text is not None:
        path.write_text(text)
    result = check(path)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert str(path) in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.fixture
def changed(datalist):
    """The datalist with digests, after which both validation labels were changed."""
    content = json.loads(datalist.read_text())
    write_datalist(datalist, name="toy", **{**content, "labels": {0: "background", 1: "cavity"}})
    for case in ("b1", "b2"):
        path = datalist.parent / f"{case}_label.nii.gz"
        nib.save(nib.Nifti1Image(np.eye(4, dtype=np.uint8)[..., None].repeat(4, axis=2), np.eye(4)), path)
    return datalist


def test_a_changed_label_is_told_until_it_is_accepted(changed):
    result = check(changed)
    assert result.exit_code == 1 and len(result.stderr.splitlines()) == 2
    assert all("got another" in line for line in result.stderr.splitlines())
    result = check(changed, "--accept-changes")
    assert result.exit_code == 0 and result.stdout.startswith("2 changed labels accepted\n")
    assert result.stdout.endswith("no problem found\n") and check(changed).exit_code == 0


def test_a_list_of_test_cases_can_be_accepted_by_its_section(changed):
    assert check(changed, "--accept-changes", "--section", "training").stdout.startswith("0 changed labels")
    assert check(changed, "--accept-changes", "--section", "validation").stdout.startswith("2 changed labels")


def test_a_change_is_not_accepted_with_another_problem(changed):
    (changed.parent / "a1.nii.gz").unlink()
    before = changed.read_text()
    result = check(changed, "--accept-changes")
    problem, end = result.stderr.splitlines()
    assert result.exit_code == 1 and problem.startswith("training[0] (a1): image")
    assert end == f"{changed}: no change was accepted" and changed.read_text() == before


def test_changes_are_not_accepted_without_references(changed):
    result = check(changed, "--accept-changes", "--no-references")
    assert "Expected --accept-changes with references, got --no-references" in str(result.exception)
    assert check(changed).exit_code == 1


def test_a_datalist_that_cannot_be_replaced_is_told_without_a_traceback(changed, monkeypatch):
    def refuse(self, target):
        raise PermissionError(f"no writing to {target}")

    monkeypatch.setattr(Path, "replace", refuse)
    result = check(changed, "--accept-changes")
    assert isinstance(result.exception, InputError) and result.exit_code == 1
    assert f"{changed}: Expected a file that can be replaced, got no writing to" in str(result.exception)


def test_tags_are_compared_with_the_reference_and_allowed_in_validation(datalist):
    content = json.loads(datalist.read_text())
    for item in (content["training"][0], content["validation"][1]):
        item |= {"supervision": "tags", "tags": [[1, 1, 1, 1]], "reference": item.pop("label")}
    datalist.write_text(json.dumps(content))
    result = check(datalist)
    assert result.exit_code == 1 and "training: Expected slices with and without class 1" in result.stderr
    content["training"].append({**content["validation"].pop(0), "case": "c", "patient": "c"})
    datalist.write_text(json.dumps(content))
    assert check(datalist).exit_code == 0
    content["validation"][0]["tags"] = [[1, 0, 1, 1]]
    datalist.write_text(json.dumps(content))
    (line,) = check(datalist).stderr.splitlines()
    assert line.startswith("validation[0] (b2): tags for ") and "0 of class 1 in slice 1" in line
    assert check(datalist, "--no-references").exit_code == 0


def program(monkeypatch, *words):
    """The exit code of ``python -m monai_ext``."""
    monkeypatch.setattr(sys, "argv", ["monai_ext", *words])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which it replaces
    monkeypatch.setattr("monai_ext.__main__.start_logging", lambda: None)
    with pytest.raises(SystemExit) as caught:
        run()
    return caught.value.code


def test_without_a_command_all_are_listed_with_an_example(monkeypatch, capsys):
    assert program(monkeypatch) in (0, None)
    shown = capsys.readouterr().out
    assert set(EXAMPLES) == {c.name or c.callback.__name__.replace("_", "-") for c in app.registered_commands}
    for name, example in EXAMPLES.items():
        assert f"  python -m monai_ext {example}\n" in shown and example.split()[0] == name
    commands = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(commands) == len(EXAMPLES) and all(line[-1] == "." != line[-2] for line in commands)


def test_the_version_is_told(monkeypatch, capsys):
    assert program(monkeypatch, "--version") in (0, None)
    assert capsys.readouterr().out == f"monai_ext {__version__}\n"


@pytest.mark.parametrize("words", [["nonsense"], ["check"], ["check", "a", "--what"], ["prepare"]])
def test_wrong_usage_has_exit_code_2(monkeypatch, words):
    assert program(monkeypatch, *words) == 2


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["report", "/no/bundle", "--dataset-dir", "/no/data"],
            "Expected /no/data/datalist.json, found none",
        ),
        (["prepare", "acdcc"], "Expected a data set among acdc, brats"),
        (["demo", "--bundle", "brain"], "Expected a bundle among brats_weak_cam_segmentation"),
    ],
)
def test_a_failure_is_one_line_on_the_standard_error(monkeypatch, capsys, words, line):
    assert program(monkeypatch, *words) == 1
    shown = capsys.readouterr()
    assert not shown.out and len(shown.err.splitlines()) == 1 and shown.err.startswith(line)
    assert program(monkeypatch, "--debug", *words) == 1 and "Traceback" in capsys.readouterr().err


def test_prepare_hands_its_words_to_the_script_of_the_data_set(monkeypatch, capfd):
    assert program(monkeypatch, "prepare", "acdc", "--help") == 0
    assert "Prepare ACDC" in capfd.readouterr().out
    assert program(monkeypatch, "prepare", "acdc", "--nonsense") == 2
