import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, ScaleIntensityRangePercentilesd
from scipy import ndimage

from monai_ext.errors import InputError
from monai_ext.transforms import ScaleForegroundIntensityd, ScalePercentilesd
from monai_ext.transforms.intensity import padding


def scan(low=0.0, high=1500.0, shape=(1, 12, 10, 8)):
    return torch.as_tensor(np.random.default_rng(0).uniform(low, high, shape).astype(np.float32))


def padded(image, value):
    """The image with its first quarter replaced, and where that is."""
    where = torch.zeros_like(image, dtype=torch.bool)
    where[:, :3] = True
    return image.masked_fill(where, value), where


@pytest.mark.parametrize("value", [-32768.0, -3024.0, -2000.0, -9999.0, 65535.0, 32767.0])
def test_padding_is_found_takes_no_part_and_becomes_0(value):
    image, where = padded(scan(), value)
    assert torch.equal(padding(image), where)
    done = ScalePercentilesd("image")({"image": image})["image"]
    assert (done[where] == 0).all()
    alone = ScalePercentilesd("image")({"image": image[~where]})["image"]
    torch.testing.assert_close(done[~where], alone)


@pytest.mark.parametrize("value", [-65535.0, 65535.0])
def test_padding_does_not_darken_the_foreground(value):
    image, where = padded(scan(300), value)
    done = ScaleForegroundIntensityd("image")({"image": image})["image"]
    alone = ScaleForegroundIntensityd("image")({"image": image[~where][None]})["image"]
    torch.testing.assert_close(done[~where], alone[0])
    assert (done[where] == 0).all()


@pytest.mark.parametrize("value", [-2000, -3024, -32768])
@pytest.mark.parametrize(("order", "error"), [(1, 0.12), (3, 0.25)])
def test_interpolated_padding_takes_no_part(value, order, error):
    y, x = np.ogrid[-1:1:64j, -1:1:60j]
    inside = np.repeat((x**2 + y**2 < 1)[:, :, None], 6, 2)
    tissue = ndimage.gaussian_filter(np.random.default_rng(0).uniform(-1500, 2500, inside.shape), 1) + 100
    tissue = np.clip(tissue, 0, None).astype(np.float32)
    blurred = ndimage.shift(np.where(inside, tissue, np.float32(value)), (0.5, 0.5, 0), order=order)
    alone = ndimage.shift(tissue, (0.5, 0.5, 0), order=order)
    core = ndimage.shift(inside.astype(np.float32), (0.5, 0.5, 0), order=1) > 0.99
    found = ScalePercentilesd("image")({"image": torch.as_tensor(blurred)[None]})["image"][0].numpy()
    wanted = ScalePercentilesd("image")({"image": torch.as_tensor(alone[core])[None]})["image"][0].numpy()
    assert np.abs(found[core] - wanted).mean() < error
    assert (found[blurred < 0.1 * value] == 0).all()


def test_padding_at_both_ends_is_found():
    image, where = padded(scan(), -32768.0)
    image[:, -2:] = 100000.0
    assert torch.equal(padding(image), where | (image == 100000))


@pytest.mark.parametrize(
    "image",
    [
        scan(),
        padded(scan(), 0.0)[0],
        scan(-1024, 3000),
        padded(scan(100, 900), 0.0)[0],
        torch.tensor([0.0, 0, 1]),
        torch.cat((scan().flatten(), scan().flatten(), torch.tensor([90000.0]))),
        scan(-3000, 3000).round(),
    ],
    ids=["plain", "air", "CT", "skull-stripped", "two values", "bright voxel", "known value among others"],
)
def test_what_is_no_padding_is_left_alone(image):
    assert padding(image) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_without_padding_it_is_monais_transform_to_the_last_bit(dtype):
    image = scan().to(dtype).float()
    monai = ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True)({"image": image})["image"]
    assert torch.equal(ScalePercentilesd("image")({"image": image})["image"], monai)


@pytest.mark.parametrize("image", [scan(), padded(scan(), -3024.0)[0]], ids=["plain", "padded"])
def test_what_was_done_before_can_still_be_inverted(image):
    transform = Compose([Flipd("image", 0), ScalePercentilesd("image")])
    done = transform({"image": MetaTensor(image, meta={"filename_or_obj": "p.nii"})})["image"]
    assert len(done.applied_operations) == 1 and done.meta["filename_or_obj"] == "p.nii"


def test_channels_are_scaled_together_or_each_for_itself_as_asked():
    image = torch.cat([scan(0, 100), scan(0, 1000)])
    for channel_wise in (False, True):
        done = ScalePercentilesd("image", channel_wise=channel_wise)({"image": image})["image"]
        monais = ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True, channel_wise=channel_wise)
        assert torch.equal(done, monais({"image": image})["image"])


def sparse(share, background=0.0, low=100.0, high=900.0, size=40):
    """An organ of random intensities that has a share of the voxels."""
    image = torch.full((1, size, size, size), background)
    count = round(share * size**3)
    image.view(-1)[:count] = torch.linspace(low, high, count)
    return image


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize("share", [0.009, 0.002, 0.0005])
@pytest.mark.parametrize(("background", "becomes"), [(0.0, 0.0), (950.0, 1.0), (500.0, 0.5)])
def test_an_organ_of_less_than_a_percent_keeps_its_contrast(share, background, becomes, channel_wise):
    image = sparse(share, background)
    done = ScalePercentilesd("image", channel_wise=channel_wise)({"image": image})["image"]
    organ = image != background
    assert done.min() >= 0 and done.max() <= 1
    assert done[~organ].unique().tolist() == pytest.approx([becomes], abs=0.01)
    assert done[organ].diff().ge(0).all() and done[organ].max() - done[organ].min() > 0.8


def test_an_image_of_two_values_becomes_0_and_1():
    image = sparse(0.001, low=7, high=7)
    done = ScalePercentilesd("image")({"image": image})["image"]
    assert torch.equal(done, (image > 0).float())


def test_a_constant_channel_is_refused_where_channels_are_scaled_each_for_itself():
    image = torch.cat([scan(), torch.full_like(scan(), 7)])
    with pytest.raises(InputError, match="contrast in every channel, got the constant intensity 7"):
        ScalePercentilesd("image", channel_wise=True)({"image": image})
    assert ScalePercentilesd("image")({"image": image})["image"].amax() == 1


def test_a_constant_image_is_refused():
    with pytest.raises(InputError, match="p3: Expected an image with contrast, got the constant intensity 7"):
        ScalePercentilesd("image")({"image": torch.full((1, 3, 3, 3), 7.0), "case": "p3"})


def test_real_images_have_no_padding(data_root):
    files = []
    for pattern in ("acdc/*/*frame??.nii.gz", "lgg/*/*_flair.nii.gz", "hippocampus/imagesTr/hip*.nii.gz"):
        files += sorted(data_root.glob(pattern))[:10]
    assert files
    for file in files:
        image = torch.as_tensor(nib.load(file).get_fdata(dtype=np.float32))
        assert padding(image) is None, file
