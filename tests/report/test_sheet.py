import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import pytest

from monai_ext.datalist.datalist import write_datalist
from monai_ext.drawing import COLORS
from monai_ext.errors import InputError
from monai_ext.keys import UNLABELED
from monai_ext.report import write_sheet
from monai_ext.report.cases import Shown
from monai_ext.report.scores import CAPTION
from monai_ext.report.sheet import slices_to_show

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
def tagged_datalist(tmp_path):
    """Writes cases of two modalities, one for training without a label and one for the test."""
    arrays = {"t1": TRUTH + 1, "flair": 5 * TRUTH + 1, "truth": TRUTH}
    for name, array in arrays.items():
        nib.save(nib.Nifti1Image(array.astype(np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    item = {"image": ["t1.nii.gz", "flair.nii.gz"], "tags": [[0, 1, 0]]}
    taught = {"supervision": "tags", "case": "taught", "patient": "p", "reference": "truth.nii.gz"}
    new = {"supervision": "full", "case": "new", "patient": "q", "label": "truth.nii.gz"}
    return write_datalist(
        tmp_path / "datalist.json",
        name="toy",
        labels={0: "background", 1: "tumor"},
        modalities=["t1", "flair"],
        training=[{**item, **taught}],
        test=[{**item, **new}],
    )


@pytest.fixture
def sheet(tmp_path, monkeypatch):
    """Draws a sheet of predictions, by default empty, and returns the figure and its axes, one row a case."""
    drawn, close = [], plt.close
    monkeypatch.setattr(plt, "close", drawn.append)

    def draw(datalist, keys=("pred",), predictor=None, **options):
        predictor = predictor or (lambda item: dict.fromkeys(keys, 0 * TRUTH))
        write_sheet(predictor, datalist, tmp_path / "a" / "sheet.png", **options)
        rows = 1 if options.get("taught") == 0 else 2
        return drawn[0], np.array(drawn[0].axes[:-1]).reshape(rows, -1)

    yield draw
    for figure in drawn:
        close(figure)


def titles(axes):
    return [axis.get_title() for axis in axes[0]]


def test_the_sheet_has_a_row_a_case_and_a_column_a_prediction(make_datalist, sheet, tmp_path):
    figure, axes = sheet(make_datalist(), keys=("teacher", "pred"))
    assert titles(axes) == ["image", "weak label", "teacher", "student", "truth"]
    assert [row[0].get_ylabel() for row in axes] == ["training\ntaught", "test\nnew"]
    assert len(axes[0, 1].collections[0].get_offsets()) == 1  # the mark of the object; the other is far away
    assert axes[1, 1].texts[0].get_text() == "none"
    assert figure.get_suptitle().startswith("toy\n")
    assert plt.imread(tmp_path / "a" / "sheet.png").shape[0] > 100


def test_without_a_teacher_there_is_a_prediction_and_no_student(make_datalist, sheet):
    _, axes = sheet(make_datalist())
    assert titles(axes) == ["image", "weak label", "prediction", "truth"]


def test_without_a_test_list_the_rows_are_validation_cases(make_datalist, sheet):
    _, axes = sheet(make_datalist(section="validation"), taught=0)
    assert axes[0, 0].get_ylabel() == "validation\nnew"
    assert titles(axes) == ["image", "prediction", "truth"]


def test_a_noisy_label_is_a_filled_map(make_datalist, sheet):
    _, axes = sheet(make_datalist("noisy"))
    assert titles(axes)[1] == "noisy label"
    _, overlay = axes[0, 1].images
    assert (overlay.get_array() == 1).sum() == TRUTH.sum() and not axes[0, 1].collections


@pytest.mark.parametrize(
    ("kind", "named"), [("partial", ["background (marks)", "heart"]), ("noisy", ["heart"])]
)
def test_the_legend_names_the_classes_that_are_drawn_in_their_colors(make_datalist, sheet, kind, named):
    figure, _ = sheet(make_datalist(kind))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == named
    assert legend.get_patches()[-1].get_facecolor() == COLORS(1)


def test_a_case_of_tags_is_shown_with_its_reference_and_no_label(tagged_datalist, sheet):
    asked = []

    def predictor(item):
        asked.append(item)
        return {"pred": 0 * TRUTH}

    _, axes = sheet(tagged_datalist, predictor=predictor)
    assert titles(axes) == ["image", "prediction", "truth"]
    assert [row[0].get_ylabel() for row in axes] == ["training\ntaught", "test\nnew"]
    assert "label" not in asked[0] and "reference" not in asked[0] and len(asked[0]["image"]) == 2
    assert (axes[0, 2].images[1].get_array() == 1).sum() == TRUTH.sum()


@pytest.mark.parametrize(("modality", "brightest"), [(None, 2), ("t1", 2), ("flair", 6)])
def test_one_modality_is_shown(tagged_datalist, sheet, modality, brightest):
    _, axes = sheet(tagged_datalist, modality=modality)
    assert [row[0].images[0].get_array().max() for row in axes] == [brightest, brightest]


def test_a_modality_that_is_not_there_is_named(tagged_datalist, make_datalist, sheet):
    with pytest.raises(ValueError, match=r"Expected a modality among t1, flair, got 't2'\."):
        sheet(tagged_datalist, modality="t2")
    with pytest.raises(ValueError, match="Expected no modality to choose, since it names none, got 'flair'"):
        sheet(make_datalist(), modality="flair")


def test_a_map_is_a_color_scale_from_0_to_1(tagged_datalist, sheet):
    cam = np.where(TRUTH, 0.7, 0.1)
    _, axes = sheet(tagged_datalist, predictor=lambda item: {"map": cam, "pred": TRUTH})
    assert titles(axes) == ["image", "map", "prediction", "truth"]
    _, overlay = axes[0, 1].images
    assert overlay.get_clim() == (0, 1) and overlay.get_cmap().name == "inferno"
    assert set(np.unique(overlay.get_array())) == {0.1, 0.7}


def test_training_rows_have_another_color_than_those_of_new_cases(make_datalist, sheet):
    _, axes = sheet(make_datalist())
    taught, new = (row[0].yaxis.label.get_color() for row in axes)
    assert taught != new


def test_each_prediction_has_the_dice_of_its_whole_volume(make_datalist, sheet):
    half, wrong = TRUTH.copy(), 0 * TRUTH
    half[:9] = 0
    half[15, 5, 0] = 1  # in a slice that is not shown
    _, axes = sheet(make_datalist(), predictor=lambda item: {"teacher": wrong, "pred": half})
    texts = [[text.get_text() for text in axis.texts] for axis in axes[0]]
    assert texts == [[], [], ["Dice 0.00"], [f"Dice {2 * 18 / (36 + 19):.2f}"], []]


def test_a_case_without_a_class_has_no_dice(make_datalist, sheet, tmp_path):
    nib.save(nib.Nifti1Image(0 * TRUTH, np.eye(4)), tmp_path / "truth.nii.gz")
    _, axes = sheet(make_datalist())
    assert not axes[0, 2].texts


def test_all_pictures_are_squares_of_one_size(make_datalist, sheet, tmp_path):
    datalist = make_datalist()
    large = np.zeros((20, 40, 3), np.uint8)
    large[4:16, 10:22, 1] = 1
    for name, array in {"image": large + 1, "truth": large, "weak": large}.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    figure, axes = sheet(datalist, predictor=lambda item: {"pred": large})
    figure.draw_without_rendering()
    sizes = {tuple(np.round(axis.get_window_extent().size, 3)) for axis in axes.flat}
    ((width, height),) = sizes
    assert width == pytest.approx(height)


def test_a_bar_counts_the_cases(make_datalist, sheet, capsys):
    sheet(make_datalist())
    assert "segmenting: 100%" in (shown := capsys.readouterr().err) and "2/2" in shown


def shown(*values, section="test"):
    """A case whose slices hold squares of these classes, as (class, side) or nothing."""
    truth = np.zeros((8, 8, len(values)), int)
    for z, parts in enumerate(values):
        for n, (k, side) in enumerate(parts):
            truth[4 * n : 4 * n + side, :side, z] = k
    return Shown(section, "a", {"truth": truth}, (1.0, 1, 1))


def test_rows_of_a_section_show_every_class():
    thorax = shown([(1, 4), (2, 4)], [], [(3, 2)])
    assert slices_to_show([thorax, thorax, thorax]) == [0, 2, 0]
    assert slices_to_show([thorax, shown(*[[(3, 2)]] * 2, section="training"), thorax]) == [0, 0, 2]


def test_of_slices_with_the_same_classes_the_one_with_the_largest_object_is_shown():
    assert slices_to_show([shown([(1, 2)], [(1, 4)], [(1, 3)])]) == [1]
    assert slices_to_show([shown([], [])]) == [0]


def test_a_sliver_of_a_class_does_not_count_as_shown():
    case = shown([(1, 4), (2, 1)], [(1, 3)], [(2, 4)])
    assert slices_to_show([case, case]) == [0, 2]


def test_the_table_below_names_every_class_of_the_legend_once(make_datalist, sheet):
    figure, _ = sheet(make_datalist("noisy"))
    (table,) = figure.axes[-1].tables
    first = [
        cell.get_text().get_text() for (_, column), cell in sorted(table.get_celld().items()) if column == 0
    ]
    (legend,) = figure.legends
    assert first == ["class", *(text.get_text() for text in legend.get_texts())]


def test_the_caption_says_what_the_distance_is_made_of(make_datalist, sheet):
    figure, _ = sheet(make_datalist())
    assert [text.get_text() for text in figure.axes[-1].texts] == [CAPTION]


def test_a_noisy_a_corrected_and_the_true_label_stand_side_by_side(make_datalist, sheet, tmp_path):
    review = tmp_path / "review"
    review.mkdir()
    nib.save(nib.Nifti1Image(TRUTH, np.eye(4)), review / "taught.nii.gz")
    _, axes = sheet(
        make_datalist("noisy"), corrected=review, baseline=lambda item: {"pred": np.roll(TRUTH, 3, axis=0)}
    )
    assert titles(axes) == [
        "image",
        "noisy label",
        "corrected label",
        "without the method",
        "prediction",
        "truth",
    ]
    texts = [[text.get_text() for text in axis.texts] for axis in axes[0]]
    assert texts == [[], ["Dice 0.67"], ["Dice 1.00"], ["Dice 0.50"], ["Dice 0.00"], []]


def test_a_datalist_without_a_case_to_show_is_named(make_datalist, sheet):
    with pytest.raises(InputError, match=r"datalist\.json: Expected a test or validation case"):
        sheet(make_datalist(), taught=0, unseen=0)


@pytest.mark.parametrize("name", ["sheet.txt", "sheet"])
def test_a_file_that_is_no_picture_is_refused_before_anything_is_computed(make_datalist, tmp_path, name):
    with pytest.raises(InputError, match=r"a file that ends in .*\.pdf, .*\.png.*, got "):
        write_sheet(None, make_datalist(), tmp_path / name)
