import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized

from monai_ext.bundle import inference
from monai_ext.bundle.inference import segment
from monai_ext.errors import InputError
from monai_ext.images import GridReader
from monai_ext.images.inputs import find_images

PREPROCESSING = Compose(
    [
        LoadImaged("image", reader=GridReader),
        EnsureChannelFirstd("image", strict_check=False),
        Resized("image", spatial_size=[8, 8, -1]),
    ]
)


def save(path, shape=(4, 5, 3), spacing=1.5):
    values = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(values, np.diag([spacing, spacing, 8, 1])), path)
    return path


@pytest.fixture
def evaluator():
    """Makes one that notes the cases that it sees."""

    def make(items):
        dataset = Dataset(items, PREPROCESSING)
        made = SupervisedEvaluator("cpu", DataLoader(dataset, batch_size=1), torch.nn.Identity())
        made.seen = []
        made.prepare_batch = lambda batch, *_, **__: (
            made.seen.append((batch["case"][0], batch["unit"][0], batch["file"][0])),
            (batch["image"], None),
        )[1]
        return made

    return make


def test_every_image_is_segmented_and_says_where_it_comes_from(evaluator, tmp_path, caplog):
    caplog.set_level(logging.INFO, "monai_ext")
    a, b = save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz", spacing=1.0)
    items = find_images(tmp_path)
    items[1]["unit"] = "voxel"
    engine = evaluator(items)
    segment(engine)
    assert engine.seen == [("a", "mm", str(a)), ("b", "voxel", str(b))]
    (line,) = [m for m in caplog.messages if "to segment" in m]
    assert line.startswith(
        "2 images to segment; the largest has 4 x 5 x 3 voxels and takes about 0.1 GB of memory;"
    )


def test_an_image_that_cannot_be_read_costs_one_line_and_the_exit_code(evaluator, tmp_path, caplog):
    save(tmp_path / "a.nii.gz"), save(tmp_path / "c.nii.gz", (4, 5, 3, 2))
    (tmp_path / "b.nii.gz").write_bytes(b"broken")
    engine = evaluator(find_images(tmp_path))
    engine.state.epoch_length = 3  # as a tool leaves it that has looked at the engine before
    with pytest.raises(InputError, match=r"^2 of 3 images were not segmented; see the lines above\.$"):
        segment(engine)
    assert [case for case, *_ in engine.seen] == ["a"]
    lines = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == 2 and "b.nii.gz: Expected a complete" in lines[0]
    assert "c.nii.gz: Expected a volume of three axes" in lines[1]


def test_nothing_is_computed_if_no_image_can_be_read(evaluator, tmp_path, caplog):
    (tmp_path / "b.nii.gz").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"b\.nii\.gz: Expected a complete") as alone:
        segment(evaluator(find_images(tmp_path)))
    assert "\n" not in str(alone.value) and not caplog.records
    (tmp_path / "c.nii.gz").write_bytes(b"broken")
    engine = evaluator(find_images(tmp_path))
    with pytest.raises(InputError) as caught:
        segment(engine)
    assert len(str(caught.value).splitlines()) == 3 and str(caught.value).endswith("\nNothing was segmented.")
    assert engine.seen == []


def test_an_image_for_which_there_is_no_memory_is_refused_by_its_header(
    evaluator, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(inference, "available_bytes", lambda: 1e6)
    save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii", (400, 400, 3))
    with open(tmp_path / "b.nii", "r+b") as file:
        file.truncate(1000)  # its voxels are not read, or it would be called damaged
    engine = evaluator(find_images(tmp_path))
    with pytest.raises(InputError, match="1 of 2 images was not segmented"):
        segment(engine)
    assert [case for case, *_ in engine.seen] == ["a"]
    assert (
        "b.nii: Expected an image for which 0.0 GB of free memory suffice, got 400 x 400 x 3 voxels"
        in caplog.text
    )


def test_a_case_that_lacks_a_needed_modality_is_refused(evaluator, tmp_path):
    item = {"image": [str(save(tmp_path / "p_t1.nii"))], "case": "p", "modalities": ["t1"]}
    with pytest.raises(InputError, match="case p: Expected t1, t2, got no image of t2"):
        segment(evaluator([item]), 2, ["t1", "t2"], all_needed=True)
