import errno
import logging
import os

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, EnsureChannelFirstd, Lambdad, LoadImaged, SaveImaged

from monai_ext.bundle.inference import segment
from monai_ext.errors import InputError
from monai_ext.failures import message_of
from monai_ext.handlers import InferenceSummary
from monai_ext.images import GridReader, GridWriter, writer
from monai_ext.images.inputs import find_images

VOXELS = np.arange(60, dtype=np.int16).reshape(4, 5, 3)


def no_change(image):
    return image


@pytest.fixture
def evaluator(tmp_path):
    """Makes one that saves each image of a folder as its mask."""

    def make(*names, prepare=no_change, workers=0):
        (tmp_path / "in").mkdir()
        for name in names:
            nib.save(nib.Nifti1Image(VOXELS, np.eye(4)), tmp_path / "in" / name)
        loading = [LoadImaged("image", reader=GridReader), EnsureChannelFirstd("image", strict_check=False)]
        save = SaveImaged(
            "pred",
            output_dir=str(tmp_path / "out"),
            output_postfix="seg",
            writer=GridWriter,
            separate_folder=False,
            savepath_in_metadict=True,
            print_log=False,
        )
        dataset = Dataset(find_images(tmp_path / "in"), Compose([*loading, Lambdad("image", prepare)]))
        return SupervisedEvaluator(
            "cpu",
            DataLoader(dataset, batch_size=1, num_workers=workers),
            torch.nn.Identity(),
            postprocessing=Compose([save]),
            prepare_batch=lambda batch, *_, **__: (batch["image"], None),
            val_handlers=[InferenceSummary(str(tmp_path / "out"), ["background", "object"])],
        )

    return make


def written(tmp_path):
    return sorted(file.name for file in (tmp_path / "out").glob("*_seg.nii.gz") if file.is_file())


def errors(caplog):
    """Our own lines; bundles do not show those of ignite."""
    records = [record for record in caplog.records if record.name.startswith("monai_ext")]
    return [record.message for record in records if record.levelname == "ERROR"]


def test_a_mask_that_cannot_be_written_costs_one_line_and_not_the_others(evaluator, tmp_path, caplog, capsys):
    caplog.set_level(logging.INFO, "monai_ext")
    engine = evaluator("a.nii", "b.nii", f"{'c' * 250}.nii", "d.nii")
    (tmp_path / "out" / "b_seg.nii.gz").mkdir(parents=True)
    with pytest.raises(InputError, match=r"^2 of 4 images were not segmented; see the lines above\.$"):
        segment(engine)
    assert written(tmp_path) == ["a_seg.nii.gz", "d_seg.nii.gz"]
    first, second = errors(caplog)
    assert first.startswith(f"case b ({tmp_path / 'in' / 'b.nii'}): ") and "Is a directory" in first
    assert second.startswith("case ccc") and "File name too long" in second
    assert not any("\n" in line for line in (first, second))
    wrote = [message for message in caplog.messages if message.startswith("wrote")]
    assert wrote == [f"wrote 2 segmentations to {tmp_path / 'out'} and their volumes to volumes.csv"]
    assert "| 4/4" in capsys.readouterr().err


def refuse_b(image):
    if "b.nii" in image.meta["filename_or_obj"]:
        raise InputError("Expected another image")
    if "c.nii" in image.meta["filename_or_obj"]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return image


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_loaded_costs_one_line(evaluator, tmp_path, caplog, workers):
    with pytest.raises(InputError, match="2 of 3 images were not segmented"):
        segment(evaluator("a.nii", "b.nii", "c.nii", prepare=refuse_b, workers=workers))
    assert written(tmp_path) == ["a_seg.nii.gz"]
    first, second = errors(caplog)
    assert first == f"case b ({tmp_path / 'in' / 'b.nii'}): Expected another image"
    assert second.endswith("Expected to read and write its files, got: [Errno 5] Input/output error")


def test_a_fault_of_our_own_ends_the_run(evaluator, caplog):
    with pytest.raises(RuntimeError):
        segment(evaluator("a.nii", "b.nii", prepare=lambda image: 1 / 0))
    assert not errors(caplog)


def test_a_full_disk_ends_the_run(evaluator, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    engine = evaluator("a.nii", "b.nii")
    monkeypatch.setattr(writer.os, "replace", full)
    with pytest.raises(RuntimeError) as stopped:
        segment(engine)
    assert "No space left on device; free space there" in str(message_of(stopped.value))
    assert engine.state.iteration == 1 and not errors(caplog)


def test_the_only_image_fails_with_its_own_message(evaluator, tmp_path, caplog):
    engine = evaluator("a.nii")
    (tmp_path / "out" / "a_seg.nii.gz").mkdir(parents=True)
    with pytest.raises(RuntimeError) as stopped:
        segment(engine)
    said = str(message_of(stopped.value))
    assert "a_seg.nii.gz: Expected to write" in said and "Is a directory" in said
    assert not errors(caplog)
