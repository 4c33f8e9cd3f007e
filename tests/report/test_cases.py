import nibabel as nib
import numpy as np
import pytest

from monai_ext.report.cases import (
    CORRECTED,
    NOISY,
    Sources,
    cases_to_show,
    different,
    label_columns,
    show,
    spaced,
)


def item(case, patient, image=None, **more):
    given = {"image": image or f"{case}.nii.gz", "label": f"{case}_l.nii.gz", "supervision": "full"}
    return {**given, "case": case, "patient": patient, **more}


@pytest.mark.parametrize(("count", "chosen"), [(0, []), (2, [0, 3]), (9, [0, 1, 2, 3, 4, 5, 6])])
def test_cases_are_spread_over_the_list(count, chosen):
    assert spaced(range(7), count) == chosen


def test_patients_differ_as_long_as_there_are_others():
    items = [item(f"{p}{frame}", p) for p in "abc" for frame in (1, 2)]
    assert [found["case"] for found in different(items, 3)] == ["a1", "b1", "c1"]
    assert len({found["case"] for found in different(items, 5)}) == 5


def test_no_image_is_shown_twice():
    items = [item("a", "p", "same.nii.gz"), item("b", "q", "same.nii.gz"), item("c", "r")]
    assert len(different(items, 3)) == 2


def test_corrected_labels_have_a_column_where_a_noisy_case_is_shown_and_a_review_was_written(tmp_path):
    noisy = item("a", "p", supervision="noisy", reference="t.nii.gz")
    content = {"training": [noisy], "validation": [item("b", "q")], "test": []}
    chosen = cases_to_show(content, 1, 1)
    assert label_columns(chosen, tmp_path) == [NOISY, CORRECTED]
    assert label_columns(chosen, tmp_path / "none") == label_columns(chosen, None) == [NOISY]
    assert label_columns(chosen[1:], tmp_path) == []


@pytest.fixture
def files(tmp_path):
    """Writes constant label maps by name; an image has noise."""

    def write(**values):
        for name, value in values.items():
            array = np.full((4, 5, 3), value, np.uint8)
            nib.save(nib.Nifti1Image(array, np.diag([2.0, 2, 8, 1])), tmp_path / f"{name}.nii.gz")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("reviewed", "shown", "notes"), [(True, 2, {}), (False, 1, {CORRECTED: "unchanged"})]
)
def test_the_corrected_label_is_that_of_the_review_or_the_label_as_it_was(files, reviewed, shown, notes):
    folder = files(a=7, a_l=1, t=3)
    corrected = folder / "corrected"
    corrected.mkdir()
    if reviewed:
        files(**{"corrected/a": 2})
    noisy = item("a", "p", supervision="noisy", reference="t.nii.gz")
    sources = Sources(
        folder, lambda given: {"pred": np.zeros((4, 5, 3))}, None, corrected, labels=[NOISY, CORRECTED]
    )
    case = show("training", noisy, sources)
    assert [case.volumes[title].max() for title in (NOISY, CORRECTED, "truth")] == [1, shown, 3]
    assert case.notes == notes and case.spacing == (2, 2, 8)


def test_the_result_without_the_method_stands_before_that_of_the_bundle(files):
    folder, ones = files(a=7, a_l=1), np.ones((4, 5, 3))
    sources = Sources(
        folder,
        lambda given: {"teacher": ones, "pred": 2 * ones},
        lambda given: {"teacher": 3 * ones, "pred": 4 * ones},
    )
    volumes = show("test", item("a", "p"), sources).volumes
    assert list(volumes) == ["image", "without the method", "teacher", "student", "truth"]
    assert [volumes[title].max() for title in ("without the method", "student")] == [4, 2]


def test_slices_are_those_that_the_network_sees(tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(np.uint8)
    for name in ("a", "a_l"):
        nib.save(nib.Nifti1Image(array, np.diag([8.0, 1, 2, 1])), tmp_path / f"{name}.nii.gz")
    case = show("test", item("a", "p"), Sources(tmp_path, lambda given: {"pred": array}))
    assert case.spacing == (1, 2, 8)
    for title in ("image", "prediction", "truth"):
        np.testing.assert_array_equal(case.volumes[title][..., 1], array[1])
