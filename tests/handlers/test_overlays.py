import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from ignite.engine import Engine

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


def draw(folder, *cases, channel=1):
    def step(engine, batch):
        engine.state.batch = [given for given, _ in cases]
        return [made for _, made in cases]

    engine = Engine(step)
    OverlayPictures(str(folder / "pictures"), channel).attach(engine)
    engine.run([0])
    return folder / "pictures"


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
