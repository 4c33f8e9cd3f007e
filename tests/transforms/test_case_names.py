import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from monai_ext.transforms import NameByCased


def image():
    return MetaTensor(
        torch.rand(1, 3, 3, 2), meta={"filename_or_obj": "/in/p1/scan.NII"}, affine=torch.eye(4)
    )


@pytest.mark.parametrize("case", ["a", "p1/scan", "1.2.840", "John scan 1", "@x $y"])
def test_what_is_saved_is_called_by_the_case_and_lies_in_its_folders(tmp_path, case):
    data = NameByCased("image")({"image": image(), "case": case})
    save = SaveImaged(
        "image", output_dir=tmp_path, output_postfix="seg", data_root_dir=".", separate_folder=False
    )
    save(data)
    assert (tmp_path / f"{case}_seg.nii.gz").is_file()


def test_without_a_case_the_file_keeps_its_name():
    assert NameByCased("image")({"image": image()})["image"].meta["filename_or_obj"] == "/in/p1/scan.NII"
    array = np.ones((1, 2, 2, 2))
    assert NameByCased("image")({"image": array, "case": "a"})["image"] is array
