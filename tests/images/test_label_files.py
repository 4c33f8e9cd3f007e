import nibabel as nib
import numpy as np
import pytest

from monai_ext.images.label_files import holds_few_values, without_label_maps


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(values).reshape(-1, 1, 1), np.eye(4)), path)
    return path


MASK = np.array([0, 1, 1, 255], np.uint8)
IMAGE = np.arange(40, dtype=np.int16)


def labels(files):
    return [file.name for file in without_label_maps(files)[1]]


@pytest.mark.parametrize("word", ["gt", "seg", "label", "mask", "scribble", "pred", "segmentation", "labels"])
@pytest.mark.parametrize("form", ["p_{}", "p-{}", "p.{}", "{}"])
def test_a_file_is_a_label_map_by_its_name_and_its_values(tmp_path, word, form):
    name = f"{form.format(word)}.nii.gz"
    assert labels([save(tmp_path / name, MASK)]) == [name]
    assert labels([save(tmp_path / name, IMAGE)]) == []


def test_the_name_alone_does_beside_its_image(tmp_path):
    image, prob = save(tmp_path / "p.nii.gz", IMAGE), save(tmp_path / "p_PROB.nii.gz", IMAGE / 40)
    assert without_label_maps([image, prob]) == ([image], [prob])


def test_an_image_of_few_values_and_a_name_of_its_own_stays(tmp_path):
    files = [save(tmp_path / name, MASK) for name in ("p.nii", "mask_p.nii", "pseg.nii")]
    assert without_label_maps(files) == (files, [])


@pytest.mark.parametrize("folder", ["labels", "labelsTr", "reference", "masks", "Segmentations"])
def test_folders_have_such_names_too(tmp_path, folder):
    assert labels([save(tmp_path / folder / "p.nii.gz", MASK)]) == ["p.nii.gz"]
    assert labels([save(tmp_path / folder / "p.nii.gz", IMAGE)]) == []
    assert labels([save(tmp_path / "labeled" / "p.nii.gz", MASK)]) == []


@pytest.mark.parametrize(
    ("values", "few"),
    [
        (range(16), True),
        (range(17), False),
        ([0.0, 3.0], True),
        ([0.0, 0.5], False),
        ([-1, 0], False),
        ([0, 256], False),
        ([0.0, np.nan], False),
    ],
)
def test_values_of_a_label_map_are_few_small_whole_numbers(tmp_path, values, few):
    array = np.asarray(list(values))
    kind = np.float32 if array.dtype.kind == "f" else np.int16
    assert holds_few_values(save(tmp_path / "p.nii", array.astype(kind))) is few


def test_a_file_that_cannot_be_read_is_no_label_map(tmp_path):
    (tmp_path / "p_seg.nii.gz").write_bytes(b"broken")
    assert labels([tmp_path / "p_seg.nii.gz"]) == []
