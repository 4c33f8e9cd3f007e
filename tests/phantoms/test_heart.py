"""The phantoms must look like ACDC to the code that reads them, and be neither trivial nor inconsistent."""

import csv

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from monai_ext.phantoms.files import NOT_ANNOTATED, write_heart_phantoms
from monai_ext.phantoms.heart import heart_phantom

SEEDS = range(6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_heart_phantoms(tmp_path_factory.mktemp("phantoms"), patients=6, seed=3)


@pytest.fixture(scope="module")
def hearts():
    return {(seed, frame): heart_phantom(seed, frame) for seed in SEEDS for frame in ("ED", "ES")}


def frames(root):
    for path in sorted(root.glob("patient*/*_gt.nii.gz")):
        yield [nib.load(str(path).replace("_gt", suffix)) for suffix in ("", "_gt", "_scribble")]


def dice(mask, reference):
    return 2 * (mask & reference).sum() / (mask.sum() + reference.sum())


def test_every_patient_has_the_files_of_acdc(root):
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == [f"patient{n:03d}" for n in range(1, 7)]
    for folder in folders:
        stems = [f"{folder.name}_frame{n}{kind}" for n in ("01", "12") for kind in ("", "_gt", "_scribble")]
        expected = {"Info.cfg"} | {f"{stem}.nii.gz" for stem in stems}
        assert {path.name for path in folder.iterdir()} == expected


def test_info_names_the_frames(root):
    for path in root.glob("*/Info.cfg"):
        info = dict(line.split(": ") for line in path.read_text().splitlines())
        assert (info["ED"], info["ES"]) == ("1", "12")
        assert set(info) == {"ED", "ES", "Group", "Height", "NbFrame", "Weight"}


def test_the_split_names_every_patient_once(root):
    rows = list(csv.DictReader((root / "split.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == [f"patient{n:03d}" for n in range(1, 7)]
    assert sorted(row["split"] for row in rows) == ["test"] + ["training"] * 4 + ["validation"]


def test_the_readme_says_that_no_patient_is_meant(root):
    text = " ".join((root / "PHANTOM.txt").read_text().split())
    assert "Computer-made" in text and "No result on them says anything about patients" in text


def test_image_label_and_scribble_share_grid_and_have_the_types_of_acdc(root):
    for files in frames(root):
        assert [file.get_data_dtype() for file in files] == [np.int16, np.uint8, np.uint8]
        for file in files:
            assert file.shape == files[0].shape
            np.testing.assert_array_equal(file.affine, files[0].affine)


def test_sizes_and_spacings_are_those_of_short_axis_stacks(root):
    for image, *_ in frames(root):
        rows, columns, depth = image.shape
        dx, dy, dz = image.header.get_zooms()
        assert rows != columns and 144 <= min(rows, columns) and max(rows, columns) <= 224
        assert 6 <= depth <= 12 and dx == dy and 1.2 <= dx <= 1.8 and 8 <= dz <= 10
        np.testing.assert_allclose(np.abs(np.diag(image.affine)[:3]), (dx, dy, dz), rtol=1e-6)


def test_strokes_agree_with_the_label_are_thin_and_touch_every_class_of_every_slice(root):
    for files in frames(root):
        label, scribble = (np.asarray(file.dataobj) for file in files[1:])
        drawn = scribble != NOT_ANNOTATED
        np.testing.assert_array_equal(scribble[drawn], label[drawn])
        assert drawn.mean() < 0.05
        for z in range(label.shape[2]):
            assert set(np.unique(scribble[..., z])) == {*np.unique(label[..., z]), NOT_ANNOTATED}
            assert not ndimage.binary_erosion(drawn[..., z], np.ones((3, 3))).any()


def test_labels_are_legal_and_the_heart_lies_inside_the_field_of_view(hearts):
    for image, label in hearts.values():
        assert image.dtype == np.int16 and label.dtype == np.uint8 and image.shape == label.shape
        assert set(np.unique(label)) == {0, 1, 2, 3}
        assert not label[[0, -1]].any() and not label[:, [0, -1]].any()


def test_myocardium_encloses_the_cavity(hearts):
    cross = ndimage.generate_binary_structure(2, 1)[..., None]
    for _, label in hearts.values():
        rim = ndimage.binary_dilation(label == 3, cross) & (label != 3)
        assert rim.any() and (label[rim] == 2).all()


def test_the_right_ventricle_is_one_piece_in_a_slice(hearts):
    pieces = [
        ndimage.label(label[..., z] == 1)[1] for _, label in hearts.values() for z in range(label.shape[2])
    ]
    assert np.mean(np.array(pieces) <= 1) > 0.95


def test_systole_empties_the_cavity_and_thickens_the_wall(hearts):
    for seed in SEEDS:
        (_, diastole), (_, systole) = hearts[seed, "ED"], hearts[seed, "ES"]
        middle = diastole.any(axis=(0, 1)).nonzero()[0].mean().round().astype(int)
        assert (systole == 3).sum() < 0.9 * (diastole == 3).sum()
        thickness = [ndimage.distance_transform_edt(v[..., middle] == 2).max() for v in (diastole, systole)]
        assert thickness[1] >= thickness[0]


def test_the_cavity_tapers_from_base_to_apex(hearts):
    for _, label in hearts.values():
        area = (label == 3).sum(axis=(0, 1))
        area = area[area > 0]
        assert (area[1:] < 1.05 * area[:-1]).all() and area[-1] < 0.6 * area[0]


def test_many_volumes_begin_or_end_with_a_slice_without_heart(hearts):
    empty = [not label[..., [0, -1]].any(axis=(0, 1)).all() for _, label in hearts.values()]
    assert np.mean(empty) > 0.5


def test_same_arguments_give_the_same_bytes(hearts):
    for again, first in zip(heart_phantom(2, "ES"), hearts[2, "ES"], strict=True):
        assert again.tobytes() == first.tobytes()


def test_writing_twice_gives_the_same_arrays(root, tmp_path):
    again = write_heart_phantoms(tmp_path, patients=3, seed=3)
    for name in ("patient002/patient002_frame01.nii.gz", "patient003/patient003_frame12_scribble.nii.gz"):
        np.testing.assert_array_equal(nib.load(again / name).dataobj, nib.load(root / name).dataobj)


def test_patients_differ(hearts):
    labels = [hearts[seed, "ED"][1] for seed in SEEDS]
    assert len({label.tobytes() for label in labels}) == len(labels)
    brightness = [np.median(image[label == 3]) for image, label in (hearts[s, "ED"] for s in SEEDS)]
    assert max(brightness) > 1.5 * min(brightness)


def test_another_seed_gives_another_population(root, tmp_path):
    other = write_heart_phantoms(tmp_path, patients=3, seed=4)
    name = "patient001/patient001_frame01.nii.gz"
    assert nib.load(other / name).shape != nib.load(root / name).shape


def test_noise_in_air_is_rician(hearts):
    """Without signal it follows Rayleigh's law: mean / standard deviation = sqrt(pi / (4 - pi)) = 1.91."""
    for image, _ in hearts.values():
        corners = [image[i, j].astype(float) for i in np.s_[:14, -14:] for j in np.s_[:14, -14:]]
        air = min(corners, key=np.mean)
        assert image.min() >= 0 and air.mean() > 0
        assert air.mean() / air.std() == pytest.approx(1.91, abs=0.12)


def test_no_threshold_finds_the_cavity(hearts):
    for image, label in hearts.values():
        levels = np.unique(np.percentile(image, np.arange(50, 100)))
        assert max(dice(image > level, label == 3) for level in levels) < 0.6


def test_blood_is_brighter_than_myocardium(hearts):
    for image, label in hearts.values():
        assert np.median(image[label == 3]) > 1.3 * np.median(image[label == 2])


@pytest.mark.parametrize(("seed", "frame"), [(-1, "ED"), (0, "mid")])
def test_says_which_frames_exist(seed, frame):
    with pytest.raises(ValueError, match="Expected seed >= 0 and frame 'ED' or 'ES'"):
        heart_phantom(seed, frame)


@pytest.mark.parametrize(("patients", "seed"), [(2, 0), (1000, 0), (3, -1)])
def test_says_how_many_patients_are_possible(patients, seed, tmp_path):
    with pytest.raises(ValueError, match="Expected 3 to 999 patients"):
        write_heart_phantoms(tmp_path, patients, seed)
    assert not list(tmp_path.iterdir())
