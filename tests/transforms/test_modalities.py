import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, Invertd

from monai_ext.errors import InputError
from monai_ext.transforms import ArrangeModalitiesd, ScaleForegroundIntensityd

NAMES = ["t1", "flair", "t1ce"]


def scan(channels=2, dtype=torch.float32):
    """Channels with values 0 to 99, on a grid of its own, as a file gives them."""
    affine = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    values = torch.randint(100, (channels, 5, 4, 3), generator=torch.Generator().manual_seed(0))
    return MetaTensor(values.to(dtype), affine=affine, meta={"filename_or_obj": "p1_t1.nii.gz"})


def test_channels_are_put_in_order_and_missing_ones_are_0():
    image = scan()
    arranged = ArrangeModalitiesd("image", NAMES)({"image": image, "modalities": ["t1ce", "t1"]})["image"]
    assert arranged.shape == (3, 5, 4, 3)
    assert torch.equal(arranged[0], image[1]) and torch.equal(arranged[2], image[0])
    assert not arranged[1].any()


@pytest.mark.parametrize("item", [{}, {"modalities": NAMES}], ids=["unsaid", "said"])
def test_a_complete_image_stays_as_it_is(item):
    image = scan(3)
    assert torch.equal(ArrangeModalitiesd("image", NAMES)({"image": image, **item})["image"], image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16])
def test_dtype_grid_and_input_are_kept(dtype):
    image = scan(dtype=dtype)
    before = image.clone()
    data = {"image": image, "modalities": ["flair", "t1"], "case": "p1", "label": 7}
    result = ArrangeModalitiesd("image", NAMES)(data)
    assert result["image"].dtype == dtype and torch.equal(result["image"].affine, image.affine)
    assert result["label"] == 7 and data["image"] is image
    assert torch.equal(image, before) and image.meta["filename_or_obj"] == "p1_t1.nii.gz"


def test_the_image_is_named_after_the_case():
    arrange = ArrangeModalitiesd("image", NAMES[:2])
    assert arrange({"image": scan(), "case": "p1"})["image"].meta["filename_or_obj"] == "p1.nii.gz"
    assert arrange({"image": scan()})["image"].meta["filename_or_obj"] == "p1_t1.nii.gz"


def test_an_image_without_metadata_stays_a_plain_tensor():
    image = torch.rand(1, 5, 4)
    arranged = ArrangeModalitiesd("image", NAMES)({"image": image, "modalities": ["flair"], "case": "p1"})
    assert type(arranged["image"]) is torch.Tensor and torch.equal(arranged["image"][1], image[0])


def test_what_comes_before_and_after_can_be_inverted():
    preprocessing = Compose(
        [Flipd("image", 0), ArrangeModalitiesd("image", NAMES), ScaleForegroundIntensityd("image")]
    )
    data = preprocessing({"image": scan(), "modalities": ["flair", "t1"]})
    data["pred"] = MetaTensor(torch.arange(5.0)[None, :, None, None].expand(1, 5, 4, 3))
    pred = Invertd("pred", preprocessing, orig_keys="image")(data)["pred"]
    assert torch.equal(pred.as_tensor(), data["pred"].as_tensor().flip(1))


@pytest.mark.parametrize("named", [["t1"], NAMES])
def test_says_how_many_channels_the_item_has(named):
    message = rf"image of {len(named)} channels \({', '.join(named)}\) for case p1, got 2; correct"
    with pytest.raises(ValueError, match=message):
        ArrangeModalitiesd("image", NAMES)({"image": scan(), "modalities": named, "case": "p1"})


def test_says_which_modality_the_network_does_not_take():
    message = "modalities among t1, flair, t1ce for case p1, got pd, t2; leave"
    with pytest.raises(ValueError, match=message):
        ArrangeModalitiesd("image", NAMES)({"image": scan(), "modalities": ["t2", "pd"], "case": "p1"})


def scaled(image, **arguments):
    return ScaleForegroundIntensityd("image", **arguments)({"image": image})["image"]


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (-1.0, 0.5)])
def test_intensities_are_those_of_the_formula(low, high):
    image = scan(2)
    found = scaled(image, low=low, high=high)
    for before, after in zip(image.numpy(), found.numpy(), strict=True):
        inside = before[before > 0.3 * before[before > 0].mean()]
        scores = (before - inside.mean()) / inside.std(ddof=1)
        np.testing.assert_allclose(after, np.clip((scores - low) / (high - low), 0, 1), atol=1e-5)


def test_a_narrow_range_is_clipped_at_0_and_1():
    found = scaled(scan(), low=-0.5, high=0.5)
    assert found.min() == 0 and found.max() == 1


@pytest.mark.parametrize("factor", [0.01, 40.0])
def test_the_unit_of_an_image_does_not_matter(factor):
    torch.testing.assert_close(scaled(scan() * factor), scaled(scan()), atol=1e-5, rtol=0)


def test_the_amount_of_background_does_not_matter():
    image = scan().as_tensor()
    padded = torch.nn.functional.pad(image, (0, 40, 0, 40))
    torch.testing.assert_close(scaled(padded)[..., :4, :3], scaled(image))


def test_channels_are_scaled_each_for_itself():
    image = scan()
    torch.testing.assert_close(scaled(image)[1:], scaled(image[1:]))
    torch.testing.assert_close(scaled(torch.cat((image, 50 * image)))[2:], scaled(image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.7, 123.4, -5.0])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_constant_channel_becomes_0(value, size):
    assert not scaled(torch.full((2, size), value)).any()


@pytest.mark.parametrize(("factor", "offset"), [(1, -1024), (0.01, -1), (0.02, -3)])
def test_a_negative_background_is_as_one_of_0(factor, offset):
    image = torch.cat((torch.zeros(1, 400), torch.linspace(300, 900, 200)[None]), dim=1)
    torch.testing.assert_close(scaled(image * factor + offset), scaled(image), atol=1e-4, rtol=0)


def test_a_channel_whose_foreground_is_constant_is_refused():
    image = torch.cat((torch.linspace(1, 9, 40)[None], torch.tensor([[0.0] * 20 + [5.0] * 20])))
    with pytest.raises(InputError, match=r"p1: Expected a foreground .* channel 1 \(from 0\)"):
        ScaleForegroundIntensityd("image")({"image": image, "case": "p1"})


def test_whole_numbers_become_float32_and_the_input_stays():
    image = scan(dtype=torch.int16)
    before = image.clone()
    found = scaled(image)
    assert found.dtype == torch.float32 and found.max() > found.min()
    assert torch.equal(image, before)
    assert torch.equal(found.affine, image.affine)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, -2)])
def test_says_that_the_range_needs_a_width(low, high):
    with pytest.raises(ValueError, match=f"low < high, got {low} and {high}"):
        ScaleForegroundIntensityd("image", low, high)
