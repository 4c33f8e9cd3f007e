import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest

from monai_ext.data.datalist import write_datalist
from monai_ext.keys import UNLABELED
from monai_ext.report import COLORS, spaced, surroundings, write_sheet

TRUTH = np.zeros((20, 24, 3), np.uint8)
TRUTH[6:12, 8:14, 1] = 1


@pytest.fixture
def make_datalist(tmp_path):
    """Writes a training case, one that names no reference, and a case in another list."""
    weak = np.full_like(TRUTH, UNLABELED)
    weak[8, 10, 1], weak[19, 23, 1] = 1, 0
    image = np.random.default_rng(0).normal(size=TRUTH.shape)
    arrays = {"image": image, "truth": TRUTH, "weak": weak, "noisy": np.roll(TRUTH, 2, axis=0)}
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array.astype(np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")

    def write(kind="partial", section="test"):
        label = {"partial": "weak.nii.gz", "noisy": "noisy.nii.gz"}[kind]
        item = {"image": "image.nii.gz", "label": label, "supervision": kind, "patient": "p"}
        training = [
            {**item, "case": "taught", "reference": "truth.nii.gz"},
            {**item, "case": "no reference"},
        ]
        new = {**item, "case": "new", "label": "truth.nii.gz", "supervision": "full", "patient": "q"}
        labels = {0: "background", 1: "heart"}
        path = tmp_path / "datalist.json"
        return write_datalist(path, name="toy", labels=labels, training=training, **{section: [new]})

    return write


@pytest.fixture
def sheet(tmp_path, monkeypatch):
    """Draws a sheet of empty predictions and returns the figure and its axes, one row a case."""
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)

    def draw(datalist, keys=("pred",), **options):
        write_sheet(
            lambda item: dict.fromkeys(keys, 0 * TRUTH), datalist, tmp_path / "a" / "sheet.png", **options
        )
        rows = 1 if options.get("taught") == 0 else 2
        return drawn[0], np.array(drawn[0].axes).reshape(rows, -1)

    return draw


def titles(axes):
    return [axis.get_title() for axis in axes[0]]


def test_the_sheet_has_a_row_a_case_and_a_column_a_prediction(make_datalist, sheet, tmp_path):
    figure, axes = sheet(make_datalist(), keys=("teacher", "pred"))
    assert titles(axes) == ["image", "weak label", "teacher", "student", "truth"]
    assert [row[0].get_ylabel() for row in axes] == ["taught\ntraining case", "new\ntest case"]
    assert len(axes[0, 1].collections[0].get_offsets()) == 1  # the mark of the object; the other is far away
    assert axes[1, 1].texts[0].get_text() == "none"
    assert figure.get_suptitle() == "toy"
    assert plt.imread(tmp_path / "a" / "sheet.png").shape[0] > 100


def test_without_a_teacher_there_is_a_prediction_and_no_student(make_datalist, sheet):
    _, axes = sheet(make_datalist())
    assert titles(axes) == ["image", "weak label", "prediction", "truth"]


def test_without_a_test_list_the_rows_are_validation_cases(make_datalist, sheet):
    _, axes = sheet(make_datalist(section="validation"), taught=0)
    assert axes[0, 0].get_ylabel() == "new\nvalidation case"
    assert titles(axes) == ["image", "prediction", "truth"]


def test_a_noisy_label_is_a_filled_map(make_datalist, sheet):
    _, axes = sheet(make_datalist("noisy"))
    assert titles(axes)[1] == "noisy label"
    _, overlay = axes[0, 1].images
    assert (overlay.get_array() == 1).sum() == TRUTH.sum() and not axes[0, 1].collections


@pytest.mark.parametrize(("kind", "named"), [("partial", ["background", "heart"]), ("noisy", ["heart"])])
def test_the_legend_names_the_classes_that_are_drawn_in_their_colors(make_datalist, sheet, kind, named):
    figure, _ = sheet(make_datalist(kind))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == named
    assert legend.get_patches()[-1].get_facecolor() == COLORS(1)


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
