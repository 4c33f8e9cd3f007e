"""How the benchmark scores a ranked list of labels."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from labels import ranking_result


def save(path, value):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), value, dtype=np.uint8), np.eye(4)), path)


@pytest.fixture
def ranked(tmp_path):
    """Of these doubts for four cases, of which the last two have wrong labels, the result."""

    def make(doubts, *, with_reference=True):
        items = []
        for number, name in enumerate("abcd"):
            save(tmp_path / f"{name}.nii", 1)
            save(tmp_path / f"{name}_clean.nii", int(number < 2))
            known = {"reference": f"{name}_clean.nii"} if with_reference else {}
            items.append({"case": name, "label": f"{name}.nii", **known})
        (tmp_path / "datalist.json").write_text(json.dumps({"training": items}))
        lines = [f"{name},{doubt}" for name, doubt in zip("abcd", doubts, strict=True)]
        (tmp_path / "ranking.csv").write_text("\n".join(["case,doubt", *lines]))
        return ranking_result(tmp_path / "ranking.csv", tmp_path)

    return make


@pytest.mark.parametrize(
    ("doubts", "precision"), [((0.1, 0.2, 0.8, 0.9), 1.0), ((0.9, 0.1, 0.8, 0.2), (1 / 2 + 2 / 3) / 2)]
)
def test_average_precision_is_that_of_the_wrong_labels(ranked, doubts, precision):
    result = ranked(doubts)
    assert (result["cases"], result["wrong"]) == (4, 2)
    assert result["average_precision"] == pytest.approx(precision)


def test_without_clean_masks_nothing_is_scored(ranked):
    expected = {"cases": 0, "wrong": 0, "average_precision": None}
    assert ranked((0.1, 0.2, 0.3, 0.4), with_reference=False) == expected
