"""The thorax phantoms must look like SegTHOR to its readers, and be neither trivial nor inconsistent."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_ext.datalist.datalist import dataset_name
from monai_ext.phantoms.files import write_thorax_phantoms
from monai_ext.phantoms.thorax import ORGANS, thorax_phantom

SEEDS = range(8)
ESOPHAGUS, HEART, TRACHEA, AORTA = ORGANS.values()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_thorax_phantoms(tmp_path_factory.mktemp("phantoms"), patients=4, seed=3)


@pytest.fixture(scope="module")
def thoraces():
    return [thorax_phantom(seed) for seed in SEEDS]


def patients(root):
    for folder in sorted((root / "train").glob("Patient_*")):
        yield [nib.load(folder / name) for name in (f"{folder.name}.nii.gz", "GT.nii.gz")]


def best_band_dice(image, mask):
    """Best Dice of all pairs of thresholds among percentiles of the organ's values."""
    levels = np.percentile(image[mask], [0, 1, 3, 10, 25, 75, 90, 97, 99, 100])
    bands = [(image >= low) & (image <= high) for low in levels[:5] for high in levels[5:]]
    return max(2 * (band & mask).sum() / (band.sum() + mask.sum()) for band in bands)


def test_labels_have_the_values_of_segthor():
    assert ORGANS == {"esophagus": 1, "heart": 2, "trachea": 3, "aorta": 4}


def test_every_patient_has_the_files_of_segthor(root):
    folders = sorted(path for path in (root / "train").iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == [f"Patient_{n:02d}" for n in range(1, 5)]
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {f"{folder.name}.nii.gz", "GT.nii.gz"}


def test_the_split_names_every_patient_once(root):
    rows = list(csv.DictReader((root / "split.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == [f"Patient_{n:02d}" for n in range(1, 5)]
    assert sorted(row["split"] for row in rows) == ["test", "training", "training", "validation"]


@pytest.mark.parametrize("folder", ["", "train"])
def test_nobody_takes_them_for_patients(root, folder):
    text = " ".join((root / folder / "PHANTOM.txt").read_text().split())
    assert "Computer-made" in text and "No result on them says anything about patients" in text
    assert "phantoms, computer-made" in dataset_name(root / folder, "SegTHOR")


def test_image_and_label_share_grid_and_have_the_types_of_segthor(root):
    for image, label in patients(root):
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        assert image.shape == label.shape and image.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(image.affine, label.affine)


def test_sizes_and_spacings_are_small_and_those_of_a_whole_thorax(root):
    for image, _ in patients(root):
        rows, columns, depth = image.shape
        dx, dy, dz = image.header.get_zooms()
        assert rows > columns and rows <= 192 and 24 <= depth <= 48
        assert dx == dy and 2.3 <= dx <= 2.9 and 7 <= dz <= 9.5
        assert 280 < rows * dx < 480 and 200 < columns * dy < 340 and 220 < depth * dz < 360


def test_all_organs_are_there_in_one_piece_and_inside_the_picture(thoraces):
    for image, label in thoraces:
        assert image.dtype == np.int16 and label.dtype == np.uint8 and image.shape == label.shape
        assert set(np.unique(label)) == {0, *ORGANS.values()}
        assert not label[[0, -1]].any() and not label[:, [0, -1]].any()
        for value in ORGANS.values():
            assert ndimage.label(label == value, np.ones((3, 3, 3)))[1] == 1


def test_the_lowest_slice_shows_the_aorta_alone_and_the_top_neither_heart_nor_aorta(thoraces):
    for _, label in thoraces:
        assert set(np.unique(label[..., 0])) == {0, AORTA}
        assert not np.isin(label[..., -1], [HEART, AORTA]).any()


def test_some_volumes_end_with_a_slice_without_organ(thoraces):
    empty = [not label[..., -1].any() for _, label in thoraces]
    assert 0 < np.mean(empty) < 1


def test_the_aorta_has_two_sections_below_its_arch_and_one_beside_the_lower_heart(thoraces):
    for _, label in thoraces:
        sections = [ndimage.label(label[..., z] == AORTA)[1] for z in range(label.shape[2])]
        assert sections[0] == 1 and max(sections) == 2
        arch = max(z for z, count in enumerate(sections) if count)
        assert sections[arch] == 1 and 2 in sections[arch - 5 : arch]


def test_the_trachea_splits_at_its_lower_end(thoraces):
    splits = []
    for _, label in thoraces:
        levels = np.flatnonzero((label == TRACHEA).any(axis=(0, 1)))
        splits.append(ndimage.label(label[..., levels[0]] == TRACHEA)[1])
        assert ndimage.label(label[..., levels[-1]] == TRACHEA)[1] == 1
    assert np.mean(np.array(splits) == 2) > 0.7


def test_the_esophagus_runs_behind_trachea_and_heart_and_before_the_spine(thoraces):
    for image, label in thoraces:
        middle = {v: ndimage.center_of_mass(label == v) for v in (ESOPHAGUS, TRACHEA, HEART)}
        assert middle[ESOPHAGUS][1] > max(middle[TRACHEA][1], middle[HEART][1])
        levels = np.flatnonzero((label == ESOPHAGUS).any(axis=(0, 1)))
        assert (np.diff(levels) == 1).all() and len(levels) > 0.6 * label.shape[2]
        behind = image[:, int(middle[ESOPHAGUS][1]) + 3 :, levels[len(levels) // 2]]
        assert (behind > 180).sum() > 20  # bone


def test_organs_have_the_values_of_ct(thoraces):
    for image, label in thoraces:
        esophagus, heart, trachea, aorta = (np.median(image[label == v]) for v in ORGANS.values())
        assert trachea < -930 and 25 < esophagus < 80 and 40 < heart <= aorta + 5 and aorta < 190
        assert image.min() == -1024 and image.max() < 3071
        assert np.median(image[:5, :5]) == pytest.approx(-1000, abs=10)


def test_patients_differ(thoraces):
    assert len({label.tobytes() for _, label in thoraces}) == len(thoraces)
    contrast = [np.median(i[v == AORTA]) - np.median(i[v == ESOPHAGUS]) for i, v in thoraces]
    volumes = [(label == HEART).sum() for _, label in thoraces]
    assert max(contrast) > 1.7 * min(contrast) and max(volumes) > 1.5 * min(volumes)


@pytest.mark.parametrize(
    ("organ", "limit"), [("esophagus", 0.1), ("heart", 0.6), ("trachea", 0.1), ("aorta", 0.5)]
)
def test_no_pair_of_thresholds_finds_an_organ(thoraces, organ, limit):
    for image, label in thoraces:
        assert best_band_dice(image, label == ORGANS[organ]) < limit


def test_noise_is_gaussian_in_tissue_and_correlated_within_a_slice_only(thoraces):
    for image, label in thoraces:
        inside = ndimage.binary_erosion(label == AORTA, iterations=2)
        noise = np.where(inside, image - image[inside].mean(), np.nan)
        beside, above = (np.nanmean(noise * np.roll(noise, 1, axis)) / np.nanvar(noise) for axis in (0, 2))
        assert 8 < np.nanstd(noise) < 40 and beside > 0.25 and abs(above) < 0.25


def test_the_same_seed_gives_the_same_bytes(thoraces):
    for again, first in zip(thorax_phantom(2), thoraces[2], strict=True):
        assert again.tobytes() == first.tobytes()


def test_files_depend_on_the_seed_alone(root, tmp_path):
    same, other = (write_thorax_phantoms(tmp_path / str(seed), patients=3, seed=seed) for seed in (3, 4))
    for name in ("Patient_02/Patient_02.nii.gz", "Patient_03/GT.nii.gz"):
        first, again, different = (nib.load(r / "train" / name) for r in (root, same, other))
        np.testing.assert_array_equal(again.dataobj, first.dataobj)
        assert different.shape != first.shape


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="Expected seed >= 0, got -1"):
        thorax_phantom(-1)


@pytest.mark.parametrize(("patients", "seed"), [(2, 0), (100, 0), (3, -1)])
def test_says_how_many_patients_are_possible(patients, seed, tmp_path):
    with pytest.raises(ValueError, match="Expected 3 to 99 patients"):
        write_thorax_phantoms(tmp_path, patients, seed)
    assert not list(tmp_path.iterdir())
