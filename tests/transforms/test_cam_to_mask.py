import copy
import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Resized
from nibabel import Nifti1Image, load, save

from monai_ext.keys import UNLABELED
from monai_ext.transforms import FuseModalityMapsd, MaskInOriginalSpaced
from monai_ext.transforms.cam_to_mask import MapToPseudoLabeld, fuse_modalities


def score_maps(slices=3, modalities=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(slices, 2 * modalities, 4, 5, generator=generator)


def present(*flags):
    return torch.tensor(flags, dtype=torch.bool)


def by_hand(maps, there, fusion, scale_by, share, threshold):
    """The formula as written: loops over slices and modalities."""
    maps = maps.double().numpy()
    cams = np.maximum(0, maps[:, 1::2])
    fused = np.zeros((len(maps), *maps.shape[2:]))
    for n, slice_maps in enumerate(maps):
        parts, probs = [], []
        for m in np.flatnonzero(there):
            tops = [np.sort(z.ravel())[::-1] for z in slice_maps[2 * m : 2 * m + 2]]
            s = [top[: math.ceil(share * top.size)].mean() for top in tops]
            probs.append(1 / (1 + np.exp(s[0] - s[1])))
            own, c = cams[n, m], cams[:, m]
            by_slice = (own - own.min()) / (own.max() - own.min())
            parts.append(own / c.max() if scale_by == "volume" else by_slice)
        weights = np.array(probs) if fusion == "confidence" else np.ones(len(probs))
        weights = weights / weights.sum()
        total = np.max(parts, 0) if fusion == "max" else np.tensordot(weights, parts, 1)
        fused[n] = total * (np.dot(weights, probs) > threshold)
    return fused


@pytest.mark.parametrize("there", [(True, True, True), (True, False, True)], ids=["all", "two"])
@pytest.mark.parametrize("fusion", ["mean", "max", "confidence"])
@pytest.mark.parametrize("scale_by", ["volume", "slice"])
@pytest.mark.parametrize(("share", "threshold"), [(0.2, 0.0), (1.0, 0.5)])
def test_equals_the_written_formula(there, fusion, scale_by, share, threshold):
    maps = score_maps(modalities=3)
    found = fuse_modalities(maps, present(*there), fusion, scale_by, share, threshold)
    expected = by_hand(maps, there, fusion, scale_by, share, threshold)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("fusion", ["mean", "max", "confidence"])
@pytest.mark.parametrize("scale_by", ["volume", "slice"])
def test_a_missing_modality_takes_no_part_whatever_its_maps_are(fusion, scale_by):
    maps = score_maps()
    fused = []
    for value in (0.0, 1e4, math.nan):
        maps[:, 2:] = value
        fused.append(fuse_modalities(maps, present(True, False), fusion, scale_by))
    assert torch.equal(fused[0], fused[1]) and torch.equal(fused[0], fused[2])
    torch.testing.assert_close(fused[0], fuse_modalities(maps[:, :2], present(True), fusion, scale_by))


def faint():
    """Maps of a volume whose second slice has a thousandth of the first one's activation."""
    maps = score_maps(slices=1, modalities=1).abs() + 0.1
    return torch.cat((maps, maps / 1000))


def test_a_slice_without_the_object_stays_dark_beside_one_with_it():
    volume = fuse_modalities(faint(), present(True), scale_by="volume")
    assert volume[0].max() == 1 and volume[1].max().item() == pytest.approx(1e-3)
    slices = fuse_modalities(faint(), present(True), scale_by="slice")
    assert slices[0].max() == 1 and slices[1].max() > 0.99


def test_slices_without_the_tag_are_empty():
    maps = torch.zeros(3, 4, 2, 2)
    maps[:, 1::2] = -9.0
    maps[:, [1, 3], 0, 0] = torch.tensor([[2.0, 2.0], [2.0, -1.5], [0.5, -2.0]])
    kept = {
        threshold: fuse_modalities(maps, present(True, True), pool_share=0.25, tag_threshold=threshold)
        .amax(dim=(1, 2))
        .gt(0)
        .tolist()
        for threshold in (0.0, 0.5, 0.8, 1.0)
    }
    assert kept[0.0] == [True, True, True] and kept[0.5] == [True, True, False]
    assert kept[0.8] == [True, False, False] and kept[1.0] == [False] * 3


@pytest.mark.parametrize("fusion", ["mean", "max", "confidence"])
@pytest.mark.parametrize("scale_by", ["volume", "slice"])
@pytest.mark.parametrize("value", [0.0, -3.0])
def test_maps_without_activation_stay_empty(fusion, scale_by, value):
    fused = fuse_modalities(torch.full((2, 4, 3, 3), value), present(True, True), fusion, scale_by)
    assert fused.shape == (2, 3, 3) and not fused.any()


def test_confidence_gives_more_weight_to_the_modality_that_is_certain():
    maps = torch.zeros(1, 4, 2, 2)
    maps[0, 1, 0, 0], maps[0, 3, 1, 1] = 5.0, 0.5
    found = {
        how: fuse_modalities(maps, present(True, True), how, pool_share=0.25)
        for how in ("mean", "confidence")
    }
    torch.testing.assert_close(found["mean"][0], torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    assert found["confidence"][0, 0, 0] > 0.6 and found["confidence"][0, 1, 1] < 0.4


@pytest.mark.parametrize("there", [(True, True, True), (False, True, True)], ids=["all", "two"])
def test_given_weights_are_those_of_the_mean_over_the_modalities_at_hand(there):
    maps, weights = score_maps(modalities=3), (5.0, 1.0, 3.0)
    single = [fuse_modalities(maps, torch.arange(3) == m) for m in range(3)]
    shares = [w if flag else 0 for w, flag in zip(weights, there, strict=True)]
    expected = sum(share * cam for share, cam in zip(shares, single, strict=True)) / sum(shares)
    torch.testing.assert_close(fuse_modalities(maps, present(*there), weights=weights), expected)


def test_modalities_without_weight_are_used_if_there_are_no_others():
    maps = score_maps(modalities=3)
    fused = fuse_modalities(maps, present(True, False, True), weights=(0, 1, 0))
    torch.testing.assert_close(fused, fuse_modalities(maps, present(True, False, True)))
    found = FuseModalityMapsd("pred", weights=[0, 1])(volume(1))["pred"]
    torch.testing.assert_close(found, FuseModalityMapsd("pred")(volume(1))["pred"])


def volume(*missing, modalities=2):
    """An image (M, 8, 10, 3) whose missing modalities are 0, and maps (M K, 4, 5, 3)."""
    image = torch.rand(modalities, 8, 10, 3)
    image[list(missing)] = 0
    return {"image": image, "pred": score_maps(modalities=modalities).movedim(0, -1), "other": 1}


@pytest.mark.parametrize("meta", [False, True])
def test_the_fused_map_has_the_size_of_the_image(meta):
    data = volume()
    expected = fuse_modalities(data["pred"].movedim(-1, 0), present(True, True))
    data = {key: MetaTensor(value) if meta and key != "other" else value for key, value in data.items()}
    before = data["pred"].clone()
    result = FuseModalityMapsd("pred")(data)
    assert result.keys() == data.keys() and torch.equal(data["pred"], before)
    assert isinstance(result["pred"], MetaTensor) and result["pred"].dtype == torch.float32
    assert result["pred"].shape == (1, 8, 10, 3)
    pooled = torch.nn.functional.avg_pool2d(result["pred"].as_tensor().movedim(-1, 0), 2)[:, 0, 1:-1, 1:-1]
    smooth = torch.nn.functional.conv2d(expected[:, None], torch.tensor([[[[1.0, 6, 1]]]]) / 8)
    smooth = torch.nn.functional.conv2d(smooth, torch.tensor([[[[1.0], [6], [1]]]]) / 8)[:, 0]
    torch.testing.assert_close(pooled, smooth)  # linear interpolation between centers, nothing is shifted


def test_maps_of_the_size_of_the_image_are_not_interpolated():
    data = volume()
    data["image"] = data["image"][:, :4, :5]
    fused = fuse_modalities(data["pred"].movedim(-1, 0), present(True, True), "max", "slice", 0.5, 0.4)
    found = FuseModalityMapsd("pred", None, "max", "slice", 0.5, 0.4)(data)["pred"].as_tensor()
    torch.testing.assert_close(found[0].movedim(-1, 0), fused)


@pytest.mark.parametrize("constant", [0.0, 0.7])
def test_a_modality_is_missing_if_its_channel_is_constant(constant):
    data = volume()
    data["image"][1] = constant
    alone = {"image": data["image"][:1], "pred": data["pred"][:2]}
    result = FuseModalityMapsd("pred", ["t1", "flair"])(data)
    torch.testing.assert_close(result["pred"], FuseModalityMapsd("pred")(alone)["pred"])
    torch.testing.assert_close(result["cam_t1"], result["pred"])
    assert result["cam_flair"].shape == (1, 8, 10, 3) and not result["cam_flair"].any()


def test_the_map_of_each_modality_is_stored_under_its_name():
    data = volume()
    result = FuseModalityMapsd("pred", ["t1", "flair"])(data)
    assert result.keys() == data.keys() | {"cam_t1", "cam_flair"}
    torch.testing.assert_close((result["cam_t1"] + result["cam_flair"]) / 2, result["pred"])


def test_says_that_an_image_is_needed():
    with pytest.raises(ValueError, match="at least one modality, got constant channels only"):
        FuseModalityMapsd("pred")(volume(0, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "sum"}, "fusion mean, max or confidence, got 'sum'"),
        ({"scale_by": "patient"}, "scale_by volume or slice, got 'patient'"),
    ],
)
def test_says_which_words_there_are(arguments, message):
    with pytest.raises(ValueError, match=message):
        FuseModalityMapsd("pred", **arguments)


SIZE, FILE_SIZE = (8, 10, 4), (16, 30, 4)


@pytest.fixture
def preprocessing():
    return Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Resized("image", [*SIZE[:2], -1], mode="trilinear", anti_aliasing=True),
        ]
    )


@pytest.fixture
def item(tmp_path, preprocessing):
    """What a network saw of a file of another size, and a map with two objects."""
    values = np.random.default_rng(0).random(FILE_SIZE, dtype=np.float32)
    save(Nifti1Image(values, np.diag([1.0, 0.5, 3.0, 1.0])), tmp_path / "p1.nii.gz")
    data = preprocessing({"image": str(tmp_path / "p1.nii.gz")})
    data["pred"] = MetaTensor(torch.zeros(1, *SIZE))
    data["pred"][0, 1:4, 1:5, 1:3] = 0.8
    data["pred"][0, 6, 8, 3] = 0.9
    return data


def test_the_mask_is_on_the_grid_of_the_file(item, preprocessing, tmp_path):
    result = MaskInOriginalSpaced("pred", preprocessing, 0.5)(item)
    mask, cam = result["pred"], result["pred_map"]
    assert mask.shape == cam.shape == (1, *FILE_SIZE)
    np.testing.assert_allclose(mask.affine, load(tmp_path / "p1.nii.gz").affine)
    assert mask.unique().tolist() == [0, 1]
    expected = torch.zeros(1, *FILE_SIZE)
    expected[0, 2:8, 3:15, 1:3] = 1  # an object of 3 x 4 pixels, each 2 x 3 of the file's
    assert (torch.as_tensor(mask) != expected).sum() <= 2 * 2 * (6 + 12)  # the corners are round
    torch.testing.assert_close(cam.max().item(), 0.9, atol=0.2, rtol=0)


def test_the_component_with_the_highest_value_is_kept_unless_others_are_wanted(item, preprocessing):
    """A large part of 0.5 is near, a small one of 0.9 far away."""
    item["pred"][item["pred"] == 0.8] = 0.5

    def parts(**options):
        mask = MaskInOriginalSpaced("pred", preprocessing, 0.3, **options)(copy.deepcopy(item))["pred"]
        return mask[:, :10], mask[:, 10:]

    near, far = parts(component="all")
    assert near.any() and far.any()
    for options, wanted in [({}, (0 * near, far)), ({"component": "largest"}, (near, 0 * far))]:
        assert all(torch.equal(a, b) for a, b in zip(parts(**options), wanted, strict=True))


def test_a_voxel_of_the_threshold_itself_belongs_to_the_object(item, preprocessing):
    item["pred"] = MetaTensor(torch.full((1, *SIZE), 0.5))
    masks = [MaskInOriginalSpaced("pred", preprocessing, t)(item)["pred"] for t in (0.49, 0.5, 0.51)]
    assert [bool(mask.all()) for mask in masks] == [True, True, False]
    assert not masks[2].any()


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan")])
def test_a_threshold_that_every_or_no_voxel_reaches_is_refused(preprocessing, threshold):
    with pytest.raises(ValueError, match=f"Expected 0 < threshold <= 1, got {threshold}"):
        MaskInOriginalSpaced("pred", preprocessing, threshold)


def test_several_maps_become_masks_and_the_input_is_kept(item, preprocessing):
    item["cam_t1"] = MetaTensor(torch.zeros(1, *SIZE))
    before = item["pred"].clone()
    result = MaskInOriginalSpaced(["pred", "cam_t1"], preprocessing, 0.5)(item)
    assert result["pred"].any() and not result["cam_t1"].any()
    assert {"pred_map", "cam_t1_map"} <= result.keys()
    assert torch.equal(item["pred"], before)


def test_maps_of_all_modalities_come_back_to_the_grid_of_the_file(item, preprocessing):
    item["pred"] = score_maps(SIZE[2], modalities=1).movedim(0, -1)
    fused = FuseModalityMapsd("pred", ["t1"])(item)
    result = MaskInOriginalSpaced(["pred", "cam_t1"], preprocessing, 0.3)(fused)
    assert result["pred"].shape == result["cam_t1"].shape == (1, *FILE_SIZE)
    assert torch.equal(result["pred_map"], result["cam_t1_map"]) and result["pred"].any()


U = UNLABELED


@pytest.mark.parametrize(("tag", "expected"), [(1, [0, U, U, U, 1]), (0, [0] * 5), (U, [0, U, U, U, U])])
def test_pseudo_labels_follow_the_map_and_the_tag_of_the_slice(tag, expected):
    cam = torch.tensor([0.1, 0.25, 0.3, 0.5, 0.9]).reshape(1, 5, 1, 1).expand(1, 5, 2, 2)
    data = {"pred": MetaTensor(cam), "tags": torch.tensor([[tag, 0]])}
    label = MapToPseudoLabeld("pred", low=0.25, high=0.5)(data)["pred"]
    assert label.shape == cam.shape
    assert label[0, :, 0, 0].tolist() == label[0, :, 1, 0].tolist() == expected
    assert not label[..., 1].any()
    assert torch.equal(data["pred"], cam)


@pytest.mark.parametrize("direction", [1, -1])
def test_tags_in_the_order_of_the_networks_slices_go_to_those_of_the_file(direction):
    cam = MetaTensor(torch.full((1, 2, 2, 3), 0.9), affine=torch.diag(torch.tensor([-1.0, -1, direction, 1])))
    image = MetaTensor(torch.rand(1, 4, 4, 3), affine=torch.diag(torch.tensor([-1.0, -1, 8, 1])))
    data = {"pred": cam, "image": image, "tags": torch.tensor([[1, 0, 0]])}
    label = MapToPseudoLabeld("pred", low=0.25, high=0.5)(data)["pred"]
    assert label[0, 0, 0].tolist() == [1, 0, 0][::direction]


def test_a_tagged_slice_that_the_map_missed_is_undecided_throughout():
    cam = torch.zeros(1, 4, 4, 3)
    cam[:, 0, 0, 0], cam[:, 0, 0, 1] = 0.9, 0.4
    data = {"pred": cam, "tags": torch.tensor([[1, 1, 0]])}
    label = MapToPseudoLabeld("pred", low=0.25, high=0.5)(data)["pred"]
    assert label[..., 0].unique().tolist() == [0, 1]
    assert (label[..., 1] == UNLABELED).all()
    assert not label[..., 2].any()


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.4), (-0.1, 0.5), (0.2, 1.5)])
def test_says_which_thresholds_make_pseudo_labels(low, high):
    with pytest.raises(ValueError, match=f"0 <= low <= high <= 1, got {low} and {high}"):
        MapToPseudoLabeld("pred", low, high)


def test_pseudo_labels_keep_the_name_and_the_place_of_the_image():
    cam = MetaTensor(torch.rand(1, 4, 4, 2), affine=2 * torch.eye(4), meta={"filename_or_obj": "case.nii.gz"})
    tags = MetaTensor(torch.tensor([[0, 1]]))
    label = MapToPseudoLabeld("pred", low=0.25, high=0.5)({"pred": cam, "tags": tags})["pred"]
    assert label.meta["filename_or_obj"] == "case.nii.gz" and torch.equal(label.affine, cam.affine)


@pytest.mark.parametrize("fusion", ["mean", "max", "confidence"])
def test_a_modality_without_weight_neither_adds_to_the_map_nor_denies_the_tag(fusion):
    maps = torch.zeros(2, 4, 4, 4)
    maps[0, 1, 1, 1] = 9  # the first modality finds the object in slice 0
    maps[:, 2], maps[:, 3, 3, 3] = 20, 8  # the second denies it everywhere, and has a map of its own
    alone = fuse_modalities(maps, present(True, False), fusion, tag_threshold=0.5)
    both = fuse_modalities(maps, present(True, True), fusion, tag_threshold=0.5, weights=[1, 0])
    assert torch.equal(alone, both) and both[0].any()


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="Expected 2 weights >= 0 of the modalities, one of them above 0"):
        fuse_modalities(score_maps(), present(True, True), weights=weights)


def test_as_many_names_as_channels_are_needed():
    data = {"image": torch.rand(2, 4, 5, 3), "pred": score_maps().movedim(0, -1)}
    with pytest.raises(ValueError, match="Expected 2 modalities, one a channel, got t1, t2, flair"):
        FuseModalityMapsd("pred", ["t1", "t2", "flair"])(data)
