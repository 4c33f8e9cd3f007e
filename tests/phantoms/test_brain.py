"""The brain phantoms must look like BraTS to its readers, and be neither trivial nor inconsistent."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from skimage.filters import threshold_otsu

from monai_ext.datalist.datalist import dataset_name
from monai_ext.phantoms.brain import EDEMA, ENHANCING, NECROSIS, brain_phantom
from monai_ext.phantoms.brain_anatomy import MODALITIES
from monai_ext.phantoms.files import write_brain_phantoms

SEEDS = range(12)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_brain_phantoms(tmp_path_factory.mktemp("phantoms"), patients=4, seed=3)


@pytest.fixture(scope="module")
def brains():
    return [brain_phantom(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def labels():
    return [brain_phantom(seed, ())[1] for seed in range(24)]


def patients(root):
    for folder in sorted(root.glob("BraTS20_*")):
        yield [nib.load(folder / f"{folder.name}_{name}.nii.gz") for name in (*MODALITIES, "seg")]


def positive_slices(label):
    return np.flatnonzero(label.any(axis=(0, 1)))


def dice(mask, reference):
    return 2 * (mask & reference).sum() / (mask.sum() + reference.sum())


def healthy_medians(images, label):
    """Median signal of fluid and of white matter, told apart by T1 as its darkest and brightest tissue."""
    healthy, t1 = (images["t1"] > 0) & (label == 0), images["t1"]
    dark, bright = (t1[healthy] < np.percentile(t1[healthy], 3)), t1[healthy] > np.median(t1[healthy])
    return {name: (np.median(i[healthy][dark]), np.median(i[healthy][bright])) for name, i in images.items()}


def test_labels_have_the_values_of_brats(brains):
    assert (NECROSIS, EDEMA, ENHANCING) == (1, 2, 4)
    found = [set(np.unique(label)) for _, label in brains]
    assert set.union(*found) == {0, 1, 2, 4} and all({0, EDEMA} <= values for values in found)


def test_every_patient_has_the_files_of_brats(root):
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == [f"BraTS20_Training_{n:03d}" for n in range(1, 5)]
    for folder in folders:
        expected = {f"{folder.name}_{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair", "seg")}
        assert {path.name for path in folder.iterdir()} == expected


def test_the_split_names_every_patient_once(root):
    rows = list(csv.DictReader((root / "split.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == [f"BraTS20_Training_{n:03d}" for n in range(1, 5)]
    assert sorted(row["split"] for row in rows) == ["test", "training", "training", "validation"]


def test_nobody_takes_them_for_patients(root):
    text = " ".join((root / "PHANTOM.txt").read_text().split())
    assert "Computer-made brains" in text and "No result on them says anything about patients" in text
    assert "phantoms, computer-made" in dataset_name(root, "BraTS")


def test_modalities_and_label_share_grid_and_have_the_types_of_brats(root):
    for *images, label in patients(root):
        assert {image.get_data_dtype() for image in images} == {np.dtype(np.int16)}
        assert label.get_data_dtype() == np.uint8
        for file in (*images, label):
            assert file.shape == (96, 96, 24) and file.header.get_xyzt_units()[0] == "mm"
            np.testing.assert_allclose(file.affine, np.diag([-1.8, -1.8, 5, 1]), rtol=1e-6)


def test_everything_outside_the_brain_is_exactly_zero_in_all_modalities(brains):
    for images, label in brains:
        brain = images["t1"] > 0
        assert all(((image > 0) == brain).all() and image.min() == 0 for image in images.values())
        assert brain[label > 0].all() and not brain[[0, -1]].any() and not brain[:, [0, -1]].any()
        assert ndimage.label(brain)[1] == 1 and 0.9e6 < brain.sum() * 1.8 * 1.8 * 5 < 1.7e6


def test_a_tumor_fills_neighboring_slices_which_are_25_to_45_percent(labels):
    for label in labels:
        levels = positive_slices(label)
        assert (np.diff(levels) == 1).all() and 0.25 <= len(levels) / label.shape[2] <= 0.45


def test_a_tumor_is_one_piece_in_one_hemisphere(brains):
    for images, label in brains:
        pieces = np.bincount(ndimage.label(label, np.ones((3, 3, 3)))[0].ravel())[1:]
        assert pieces.max() > 0.95 * pieces.sum()
        middle = ndimage.center_of_mass(images["t1"] > 0)[0]
        left = (np.nonzero(label)[0] > middle).mean()
        assert max(left, 1 - left) > 0.85


def test_edema_surrounds_the_core(brains):
    for _, label in brains:
        core = np.isin(label, [NECROSIS, ENHANCING])
        rim = ndimage.binary_dilation(core, ndimage.generate_binary_structure(2, 1)[..., None]) & ~core
        assert core.any() and (label[rim] == EDEMA).mean() > 0.95


def test_enhancing_tissue_lies_between_necrosis_and_edema(brains):
    rims = []
    for _, label in brains:
        edge = ndimage.binary_dilation(label == NECROSIS, np.ones((3, 3, 1))) & (label != NECROSIS)
        rims.append((label[edge] == ENHANCING).mean() if edge.any() else 1.0)
    assert np.mean(np.array(rims) > 0.5) > 0.5 and min(rims) == 0  # some tumors do not enhance


def test_fluid_and_white_matter_have_the_contrast_of_each_modality(brains):
    for images, label in brains:
        ratio = {name: fluid / white for name, (fluid, white) in healthy_medians(images, label).items()}
        assert ratio["t1"] < 0.6 and ratio["t1ce"] < 0.6 and ratio["flair"] < 0.85 and ratio["t2"] > 1.5


def test_edema_is_bright_in_flair_and_t2_and_dark_in_t1(brains):
    for images, label in brains:
        white = {name: values[1] for name, values in healthy_medians(images, label).items()}
        edema = {name: np.median(image[label == EDEMA]) / white[name] for name, image in images.items()}
        assert edema["flair"] > 1.4 and edema["t2"] > 1.4 and edema["t1"] < 0.9


def test_only_the_contrast_agent_brightens_the_enhancing_rim(brains):
    for images, label in brains:
        rim, edema = label == ENHANCING, label == EDEMA
        if rim.sum() > 100:
            ratio = {name: np.median(image[rim]) / np.median(image[edema]) for name, image in images.items()}
            assert ratio["t1ce"] > 1.3 and max(ratio["t1"], ratio["t2"], ratio["flair"]) < 1.25


def test_otsu_on_flair_finds_tumors_only_in_part(brains):
    scores = []
    for images, label in brains:
        flair = images["flair"]
        scores.append(dice(flair > threshold_otsu(flair[flair > 0]), label > 0))
    assert 0.3 < np.mean(scores) < 0.6 and max(scores) < 0.75


def test_most_patients_have_slices_without_tumor_that_are_as_bright_in_flair(brains):
    counts = []
    for images, label in brains:
        flair, present = images["flair"], label.any(axis=(0, 1))
        counts.append((flair[..., ~present] > np.percentile(flair[label == EDEMA], 25)).sum())
    assert np.mean(np.array(counts) > 100) > 0.75


def test_fluid_makes_t2_useless_for_a_threshold(brains):
    for images, label in brains:
        levels = np.percentile(images["t2"][images["t2"] > 0], np.arange(50, 100))
        assert max(dice(images["t2"] > level, label > 0) for level in levels) < 0.6


def test_patients_differ(brains):
    assert len({label.tobytes() for _, label in brains}) == len(brains)
    for name in MODALITIES:
        gain = [np.median(images[name][images[name] > 0]) for images, _ in brains]
        assert max(gain) > 2 * min(gain)
    volume = [(label > 0).sum() for _, label in brains]
    assert max(volume) > 1.4 * min(volume)


def test_tumors_are_found_everywhere(labels):
    centers = np.array([ndimage.center_of_mass(label > 0) for label in labels])
    assert (np.ptp(centers, axis=0) > [30, 30, 6]).all()


def test_the_same_seed_gives_the_same_bytes(brains):
    images, label = brain_phantom(2)
    assert label.tobytes() == brains[2][1].tobytes()
    assert all(image.tobytes() == brains[2][0][name].tobytes() for name, image in images.items())


def test_a_modality_is_the_same_whichever_others_are_drawn(brains):
    images, label = brain_phantom(1, ("flair", "t1"))
    assert list(images) == ["flair", "t1"]
    for name, image in images.items():
        np.testing.assert_array_equal(image, brains[1][0][name])
    np.testing.assert_array_equal(label, brains[1][1])


def test_a_larger_population_contains_the_smaller(root, tmp_path):
    smaller = write_brain_phantoms(tmp_path, patients=3, seed=3, modalities=("t2", "t1ce"))
    folders = [path for path in smaller.iterdir() if path.is_dir()]
    for folder in folders:
        assert {path.name[len(folder.name) :] for path in folder.iterdir()} == {
            "_t1ce.nii.gz",
            "_t2.nii.gz",
            "_seg.nii.gz",
        }
        for path in folder.iterdir():
            np.testing.assert_array_equal(
                nib.load(path).dataobj, nib.load(root / folder.name / path.name).dataobj
            )


def test_another_seed_gives_another_population(root, tmp_path):
    other = write_brain_phantoms(tmp_path, patients=3, seed=4, modalities=("t1", "flair"))
    name = "BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz"
    assert (np.asarray(nib.load(other / name).dataobj) != np.asarray(nib.load(root / name).dataobj)).any()


@pytest.mark.parametrize(("seed", "modalities"), [(-1, ("t1",)), (0, ("t1", "ct"))])
def test_says_which_modalities_exist(seed, modalities):
    with pytest.raises(ValueError, match=r"Expected seed >= 0 and modalities of .*'flair'"):
        brain_phantom(seed, modalities)


@pytest.mark.parametrize("modalities", [("t1",), ("t1", "t1"), ("t1", "ct"), (*MODALITIES, "t1")])
def test_says_which_modalities_can_be_written(modalities, tmp_path):
    with pytest.raises(ValueError, match="Expected 2 to 4 different modalities of"):
        write_brain_phantoms(tmp_path, 3, 0, modalities)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("patients", "seed"), [(2, 0), (1000, 0), (3, -1)])
def test_says_how_many_patients_are_possible(patients, seed, tmp_path):
    with pytest.raises(ValueError, match="Expected 3 to 999 patients"):
        write_brain_phantoms(tmp_path, patients, seed)
    assert not list(tmp_path.iterdir())
