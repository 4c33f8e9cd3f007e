import json

import nibabel as nib
import numpy as np
import pytest

from monai_ext.bundle.inputs import find_cases, find_images
from monai_ext.errors import InputError

LABELS = {"0": "background", "1": "heart"}


@pytest.fixture
def prepared(tmp_path):
    """Writes a prepared folder of such items; every file that they name is made."""

    def write(training=(), test=(), **more):
        content = {"labels": LABELS, "training": list(training), "test": list(test), **more}
        for item in (*training, *test):
            images = item["image"] if isinstance(item["image"], list) else [item["image"]]
            for file in (*images, *filter(None, [item.get("label")])):
                (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), tmp_path / file)
        (tmp_path / "datalist.json").write_text(json.dumps(content))
        return tmp_path

    return write


def item(case, image=None, **more):
    return {"image": image or f"images/{case}.nii.gz", "case": case, "label": f"labels/{case}.nii.gz", **more}


def test_a_prepared_folder_stands_for_its_images(prepared):
    folder = prepared([item("a"), item("b")], [item("c")], unit="voxel")
    found = find_images(folder)
    assert [(i["case"], i["image"]) for i in found] == [
        (case, str(folder / "images" / f"{case}.nii.gz")) for case in "abc"
    ]
    assert {i["unit"] for i in found} == {"voxel"}
    assert find_images(folder / "datalist.json") == found


def test_an_image_in_two_lists_is_segmented_once(prepared):
    assert len(find_images(prepared([item("a"), item("a", supervision="noisy")]))) == 1


def test_two_images_of_one_case_are_refused(prepared):
    folder = prepared([item("a")], [item("a", "images/b.nii.gz")])
    with pytest.raises(InputError, match='one image for each case, got two of case "a"'):
        find_images(folder)


def test_a_datalist_without_cases_says_so(prepared):
    with pytest.raises(InputError, match="Expected cases to segment, got empty lists"):
        find_images(prepared())


def test_a_case_that_would_be_saved_elsewhere_is_refused(prepared):
    with pytest.raises(InputError, match=r'Expected "case" to be a name for files, .* got \'\.\./a\''):
        find_images(prepared([item("../a", "images/a.nii.gz", label="labels/a.nii.gz")]))


def of_modalities(case, *names):
    return item(case, [f"images/{case}_{name}.nii.gz" for name in names])


def test_a_datalist_of_several_modalities_gives_those_of_the_network_in_its_order(prepared):
    names = ["t1", "t2", "flair"]
    folder = prepared([of_modalities("a", *names)], modalities=names)
    (found,) = find_cases(folder, ["flair", "t1ce", "t1"])
    assert found["modalities"] == ["flair", "t1"]
    assert found["image"] == [str(folder / "images" / f"a_{name}.nii.gz") for name in ("flair", "t1")]


def test_a_datalist_of_another_kind_of_bundle_says_so(prepared):
    folder = prepared([of_modalities("a", "t1", "flair")], modalities=["t1", "flair"])
    with pytest.raises(
        InputError, match="cases of one image, got the modalities t1, flair; choose the bundle"
    ):
        find_images(folder)
    with pytest.raises(InputError, match="Expected the modalities ct, got t1, flair; choose the bundle"):
        find_cases(folder, ["ct"])
    with pytest.raises(InputError, match="Expected the modalities t1, got none; choose the bundle"):
        find_cases(prepared([item("a")]), ["t1"])


def test_channels_that_the_network_does_not_take_are_named(prepared):
    folder = prepared([item("a")], modalities=["t1", "t2"])
    with pytest.raises(InputError, match="Expected channels among t1, got t2 too; save each modality"):
        find_cases(folder, ["t1"])
    (found,) = find_cases(folder, ["t2", "t1", "flair"])
    assert found["modalities"] == ["t1", "t2"] and isinstance(found["image"], str)
