"""Options of label noise as a command line gives them, whose labels get it, and the report on it."""

import nibabel as nib
import numpy as np
import pytest

from monai_ext.preparation.noise_options import NoiseOptions, noise_options, noise_report
from monai_ext.transforms.label_noise import PRESETS, LabelNoise

PATIENTS = [f"p{i}" for i in range(10)]
LABELS = {0: "background", 1: "wall", 2: "cavity"}


def test_presets_are_taken_in_the_order_of_the_options():
    options = noise_options(["shift", "symmetric"])
    assert options.noises == (PRESETS["shift"], PRESETS["symmetric"])
    assert noise_options(None).noises == noise_options([]).noises == ()


def test_strength_and_share_of_erosion_replace_the_presets():
    options = noise_options(["hurried", "shift", "swapped-classes"], (1, 2), 0.3)
    expected = LabelNoise("size", (1, 2), 0.3), LabelNoise("shift", (1, 2)), PRESETS["swapped-classes"]
    assert options.noises == expected


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 1])
def test_a_share_of_the_patients_is_chosen(share):
    options = NoiseOptions((PRESETS["shift"],), share)
    chosen = options.choose(PATIENTS, 0)
    assert len(chosen) == round(10 * share) and chosen <= set(PATIENTS)
    assert options.choose(PATIENTS[::-1], 0) == chosen <= options._replace(share=1.0).choose(PATIENTS, 0)
    assert share in (0, 1) or any(options.choose(PATIENTS, seed) != chosen for seed in (1, 2, 3))


def test_without_noise_nobody_is_chosen():
    assert NoiseOptions().choose(PATIENTS, 0) == NoiseOptions().choose([], 0) == frozenset()


def test_noise_without_patients_is_refused():
    with pytest.raises(ValueError, match="patients left for --noise, got none; choose a smaller --full"):
        NoiseOptions((PRESETS["shift"],)).choose([], 0)


def test_the_description_names_the_noise_and_the_patients():
    text = NoiseOptions((LabelNoise("shift", (1, 2)), PRESETS["hurried"])).describe({"p2", "p1"})
    assert text.startswith("LabelNoise(kind='shift', strength=(1, 2), ") and ", then LabelNoise(" in text
    assert text.endswith("labels of 2 patients corrupted: p1, p2")


@pytest.fixture
def items(tmp_path):
    """Two noisy cases, of which the first lost half of its wall, and a full one."""
    clean = np.zeros((4, 4, 2), dtype=np.uint8)
    clean[:2], clean[3] = 1, 2
    noisy = clean.copy()
    noisy[0] = 0
    for name, array in (("clean", clean), ("noisy", noisy)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    weak = {"supervision": "noisy", "reference": "clean.nii.gz"}
    return [
        {"patient": "p1", "label": "noisy.nii.gz"} | weak,
        {"patient": "p2", "label": "clean.nii.gz"} | weak,
        {"patient": "p3", "label": "absent.nii.gz", "supervision": "full"},
    ]


def test_the_report_compares_corrupted_cases_and_all_noisy_ones(items, tmp_path):
    changed, noisy = noise_report(items, tmp_path, LABELS, {"p1"}).splitlines()
    assert (
        changed == "IoU of noisy with clean labels in 1 corrupted cases: wall 0.500, cavity 1.000, mean 0.750"
    )
    assert noisy == "IoU of noisy with clean labels in 2 noisy cases: wall 0.750, cavity 1.000, mean 0.875"


def test_one_line_suffices_if_all_or_none_are_corrupted(items, tmp_path):
    (every,) = noise_report(items, tmp_path, LABELS, {"p1", "p2"}).splitlines()
    (none,) = noise_report(items[1:], tmp_path, LABELS, []).splitlines()
    assert "2 corrupted cases: wall 0.750" in every and "1 noisy cases: wall 1.000" in none
    assert noise_report(items[2:], tmp_path, LABELS, []) == ""


def test_a_class_without_a_voxel_is_left_out_of_the_report(items, tmp_path):
    assert noise_report(items[1:], tmp_path, LABELS | {3: "tumor"}, []).endswith("cavity 1.000, mean 1.000")
    assert noise_report(items[1:], tmp_path, {0: "background", 4: "tumor"}, []).endswith(": no voxel")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["blur", "shift"],), "Expected --noise one of symmetric, .*swapped-classes, got blur"),
        ((["shift"], None, None, 1.5), r"Expected --noise-share in 0\.\.1, got 1\.5"),
        ((None, (1, 2)), "Expected a --noise that uses --noise-k, got none; leave it out"),
        ((["swapped-classes"], (1, 2)), "--noise that uses --noise-k, got swapped-classes"),
        ((["shift"], None, 0.5), "--noise that uses --noise-under, got shift"),
        ((None, None, None, 0.5), "--noise that uses --noise-share, got none"),
        ((["symmetric"], (4, 2)), r"--noise-k, --noise-under: Expected strength .*got \(4, 2\)"),
        ((["symmetric"], None, 2.0), r"--noise-under: Expected under_share in 0\.\.1, got 2\.0"),
    ],
)
def test_impossible_options_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        noise_options(*arguments)
