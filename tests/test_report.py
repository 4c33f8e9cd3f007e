import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest

from monai_ext.data.datalist import write_datalist
from monai_ext.keys import UNLABELED
from monai_ext.report import spaced, surroundings, write_sheet


@pytest.fixture
def datalist(tmp_path):
    """A weakly labeled training case, one that names no reference, and an unseen case."""
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 24, 3), np.uint8)
    truth[6:12, 8:14, 1] = 1
    weak = np.full_like(truth, UNLABELED)
    weak[8, 10, 1], weak[19, 23, 1] = 1, 0
    for name, array in {"image": rng.normal(size=truth.shape), "truth": truth, "weak": weak}.items():
        nib.save(nib.Nifti1Image(array.astype(np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    item = {"image": "image.nii.gz", "label": "weak.nii.gz", "supervision": "partial", "patient": "p"}
    training = [{**item, "case": "taught", "reference": "truth.nii.gz"}, {**item, "case": "no reference"}]
    unseen = {**item, "case": "new", "label": "truth.nii.gz", "supervision": "full", "patient": "q"}
    path = tmp_path / "datalist.json"
    write_datalist(path, name="toy", labels={0: "background", 1: "heart"}, training=training, test=[unseen])
    return path


def test_the_sheet_has_a_row_a_case_and_a_column_a_prediction(datalist, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    nothing = np.zeros((20, 24, 3))
    write_sheet(lambda item: {"teacher": nothing, "pred": nothing}, datalist, tmp_path / "a" / "sheet.png")
    axes = np.array(drawn[0].axes).reshape(-1, 5)
    assert [axis.get_title() for axis in axes[0]] == ["image", "weak label", "teacher", "student", "truth"]
    assert [row[0].get_ylabel().split("\n")[0] for row in axes] == ["taught", "new"]
    assert len(axes[0, 1].collections[0].get_offsets()) == 1  # the mark of the object; the other is far away
    assert "unseen" in axes[1, 1].texts[0].get_text()
    assert drawn[0].get_suptitle() == "toy"
    assert plt.imread(tmp_path / "a" / "sheet.png").shape[0] > 100


def test_the_view_is_a_square_around_the_object_within_the_image():
    mask = np.zeros((100, 80), bool)
    mask[40:51, 30:36] = True
    rows, columns = surroundings(mask, margin=1.0)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (30, 60, 17, 47)
    mask[:] = False
    mask[0, 0] = mask[3, 3] = True
    assert surroundings(mask)[0].start == 0
    assert mask[surroundings(np.zeros_like(mask))].shape == mask.shape


@pytest.mark.parametrize(("count", "chosen"), [(0, []), (2, [0, 3]), (9, [0, 1, 2, 3, 4, 5, 6])])
def test_cases_are_spread_over_the_list(count, chosen):
    assert spaced(range(7), count) == chosen
