from pathlib import Path

import pytest
from typer.testing import CliRunner

import monai_ext.report
from monai_ext.__main__ import app


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Runs the command on a bundle and a datalist that are only names; returns what it asked of the sheet."""
    for file in ("bundle/models/model.pt", "data/datalist.json", "plain.pt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    seen = {}

    def sheet(predictor, datalist, out, taught, unseen, modality, baseline, corrected):
        seen.update(predictor=predictor, baseline=baseline, corrected=corrected)
        return out

    monkeypatch.setattr(monai_ext.report, "Predictor", lambda bundle, data, weights, *more: (weights, *more))
    monkeypatch.setattr(monai_ext.report, "write_sheet", sheet)

    def run(*words):
        words = ("report", str(tmp_path / "bundle"), "--dataset-dir", str(tmp_path / "data"), *words)
        return CliRunner().invoke(app, words), seen

    return run


def test_the_baseline_is_the_same_bundle_with_other_weights(asked, tmp_path):
    words = ("--baseline-weights", str(tmp_path / "plain.pt"), "--override", "a=1", "--mix-in", "ct")
    result, seen = asked(*words)
    assert result.exit_code == 0
    assert seen["predictor"] == (None, {"a": 1}, ["ct"])
    assert seen["baseline"] == (tmp_path / "plain.pt", {"a": 1}, ["ct"])


def test_corrected_labels_are_those_of_the_bundle_and_there_is_no_baseline_unless_asked_for(asked, tmp_path):
    _, seen = asked()
    assert seen["baseline"] is None
    assert seen["corrected"] == tmp_path / "bundle" / Path("eval/label_review/corrected")


def test_a_missing_baseline_is_named(asked, tmp_path):
    result, _ = asked("--baseline-weights", str(tmp_path / "none.pt"))
    assert result.exit_code == 1 and "none.pt" in result.output + str(result.exception)
