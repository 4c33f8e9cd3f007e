import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd, AsDiscreted, Compose, Flipd, Invertd, Resized

from monai_ext.transforms import ClassesInOriginalSpaced


def item(classes, equal=False):
    """An image (1, 20, 15, 4) that was resized to (8, 8, 4), and logits on that grid."""
    preprocessing = Compose(
        [Flipd("image", spatial_axis=0), Resized("image", (8, 8, -1), mode="trilinear", anti_aliasing=True)]
    )
    image = MetaTensor(torch.rand(1, 20, 15, 4), meta={"filename_or_obj": "a.nii.gz"})
    logits = torch.zeros(classes, 8, 8, 4) if equal else 3 * torch.randn(classes, 8, 8, 4)
    return preprocessing, preprocessing({"image": image}) | {"pred": logits, "teacher": -logits}


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("equal", [False, True])
def test_classes_are_those_of_monais_three_transforms(classes, equal):
    preprocessing, data = item(classes, equal)
    keys = ["pred", "teacher"]
    meta = {key: MetaTensor(data[key]) for key in keys}
    wanted = Compose(
        [
            Activationsd(keys, softmax=True),
            Invertd(keys, preprocessing, orig_keys="image", nearest_interp=False),
            AsDiscreted(keys, argmax=True),
        ]
    )({**data, **meta})
    found = ClassesInOriginalSpaced(keys, preprocessing)(data)
    for key in keys:
        assert found[key].shape == (1, 20, 15, 4) and found[key].dtype == torch.uint8
        np.testing.assert_array_equal(found[key].numpy(), wanted[key].numpy())
        assert found[key].meta["filename_or_obj"] == "a.nii.gz"
    assert found["pred"].any() != equal
