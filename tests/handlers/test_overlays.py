import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from monai_ext.handlers import OverlayPictures
from monai_ext.handlers.overlays import slice_to_show


def case(name="p1", *, with_map=True, size=20, depth=4):
    """A case's entry of a batch and what a decollated inference made of it: a bright square in slice 2."""
    image = torch.rand(2, size, size, depth) * 0.1
    mask = torch.zeros(1, size, size, depth)
    mask[:, 5:12, 5:12, 2] = 1
    image[1] += mask[0]
    made = {"image": image, "pred": mask} | ({"pred_map": mask * 0.8} if with_map else {})
    return {"case": name}, made


def draw(folder, *cases, channel=1, **options):
    def step(engine, batch):
        engine.state.batch = [given for given, _ in cases]
        return [made for _, made in cases]

    engine = Engine(step)
    OverlayPictures(str(folder / "pictures"), channel, **options).attach(engine)
    engine.run([0])
    return folder / "pictures"


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws one case and returns the figure and its axes."""
    figures, close = [], plt.close
    monkeypatch.setattr(plt, "close", figures.append)

    def run(given, made, **options):
        draw(tmp_path, (given, made), **options)
        return figures[0], figures[0].axes

    yield run
    close(figures[0])


def colored(file):
    """Columns of the picture in which red and blue differ."""
    picture = plt.imread(file)
    return np.abs(picture[..., 0] - picture[..., 2]).max(axis=0) > 0.1


def test_every_case_has_a_picture_of_its_name(tmp_path):
    folder = draw(tmp_path, case("a"), case("b"))
    assert {file.name for file in folder.iterdir()} == {"a.png", "b.png"}


def test_image_map_and_mask_stand_side_by_side(tmp_path):
    found = colored(draw(tmp_path, case()) / "p1.png")
    image, cam, mask = (part.any() for part in np.array_split(found, 3))
    assert not image and cam and mask


def test_without_a_map_there_are_two_panels(tmp_path):
    found = colored(draw(tmp_path, case(with_map=False)) / "p1.png")
    image, mask = (part.any() for part in np.array_split(found, 2))
    assert not image and mask


def test_an_empty_mask_can_be_drawn(tmp_path):
    given, made = case()
    made["pred"] = torch.zeros_like(made["pred"])
    found = colored(draw(tmp_path, (given, made)) / "p1.png")
    assert not np.array_split(found, 3)[2].any()


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_an_empty_mask_is_told_in_words(drawn):
    given, made = case()
    made["pred"] = torch.zeros_like(made["pred"])
    figure, axes = drawn(given, made)
    assert figure.get_suptitle() == "p1, slice 3 of 4 (from 1), no voxel segmented"
    assert words(axes[2]) == ["no voxel segmented"]


@pytest.mark.parametrize(("size", "voxels"), [(1, "1 voxel segmented"), (2, "4 voxels segmented")])
def test_the_slice_is_counted_from_1_and_the_voxels_too(drawn, size, voxels):
    given, made = case()
    made["pred"] = torch.zeros_like(made["pred"])
    made["pred"][0, :size, :size, 3] = 1
    figure, axes = drawn(given, made)
    assert figure.get_suptitle() == f"p1, slice 4 of 4 (from 1), {voxels}"
    assert words(axes[2]) == []


def test_the_colors_of_a_map_have_a_scale_from_0_to_1(drawn):
    _, (_, cam, _, scale) = drawn(*case())
    assert scale.get_xlim() == cam.images[1].get_clim() == (0, 1)


def test_without_a_map_there_is_no_scale(drawn):
    _, axes = drawn(*case(with_map=False))
    assert [axis.get_title() for axis in axes] == ["image", "prediction"]


@pytest.mark.parametrize(("missing", "title"), [(None, "flair"), (0, "flair"), (1, "t1 (flair is missing)")])
def test_the_title_is_the_modality_that_is_drawn(drawn, missing, title):
    given, made = case()
    if missing is not None:
        made["image"][missing] = 0
    _, axes = drawn(given, made, modalities=["t1", "flair"])
    assert [axis.get_title() for axis in axes[:3]] == [title, "map", "prediction"]


@pytest.mark.parametrize("missing", [0, 1])
def test_another_channel_is_drawn_where_the_chosen_one_is_missing(tmp_path, missing):
    given, made = case()
    made["image"][missing] = 0
    picture = plt.imread(draw(tmp_path, (given, made), channel=missing) / "p1.png")
    rows, columns = picture.shape[0], picture.shape[1] // 3
    inside = picture[rows // 3 : rows // 2, columns // 3 : columns // 2, 0]
    assert len(np.unique(inside)) > 1  # a constant channel would be of one gray


def test_the_slice_shown_has_the_largest_object():
    mask, cam = np.zeros((4, 4, 5)), np.zeros((4, 4, 5))
    assert slice_to_show(mask, None) == slice_to_show(mask, cam) == 2
    cam[0, 0, 3] = 0.2
    assert slice_to_show(mask, cam) == 3
    mask[0, 0, 4] = mask[:2, :2, 1] = 1
    assert slice_to_show(mask, cam) == 1


def test_slices_are_those_that_the_network_sees(drawn):
    given, made = case()
    for key, volume in made.items():
        made[key] = MetaTensor(volume.movedim(-1, 1), affine=torch.diag(torch.tensor([8.0, 1, 1, 1])))
    figure, axes = drawn(given, made)
    assert figure.get_suptitle().startswith("p1, slice 3 of 4 (from 1), 49 voxels")
    assert axes[0].images[0].get_array().shape == (20, 20)
