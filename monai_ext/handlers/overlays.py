"""A picture of every segmented case, to look at before anybody relies on it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_ext.cams import channel_that_is_there
from monai_ext.drawing import MAP, draw, write_on
from monai_ext.images.transforms import slice_axis
from monai_ext.keys import CASE, IMAGE, MAP_SUFFIX, PRED

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PRED_MAP = PRED + MAP_SUFFIX
COLOR_BAR: dict[str, Any] = {"shrink": 0.3, "aspect": 25, "pad": 0.02, "ticks": [0, 0.5, 1]}


class OverlayPictures:
    """Draw image, map and mask of every case, in the slice with the largest object, to ``CASE.png``.

    Where the mask is empty it is the slice with the highest map, or the middle one; the picture counts slices
    from 1. Postprocessing must have brought the image to the grid of the mask, as ``Invertd`` with
    ``keys: image`` does.

    Event: ITERATION_COMPLETED. Reads: ``engine.state.batch["case"]``; ``engine.state.output["image"]``
    (M, *S), ``["pred"]`` (1, *S) and, if it is there, ``["pred_map"]`` (1, *S), all decollated. Writes: the
    pictures. State: none.

    Args:
        output_dir: folder of the pictures.
        channel: channel of the image that is drawn; another one that is there, if it is constant.
        modalities: names of the channels, of which the picture says the one that is drawn.
    """

    def __init__(self, output_dir: str, channel: int = 0, modalities: Sequence[str] = ()) -> None:
        self.output_dir = Path(output_dir)
        self.channel = channel
        self.modalities = tuple(modalities)

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Draw the cases of this iteration."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for given, made in zip(batch, output, strict=True):
            shown = {key: slices_last(made[key]) for key in (IMAGE, PRED, PRED_MAP) if key in made}
            self.draw(str(given[CASE]), shown)

    def draw(self, case: str, volumes: dict[str, np.ndarray]) -> None:
        """Draw one case."""
        image, mask, cam = volumes[IMAGE], volumes[PRED][0], volumes.get(PRED_MAP)
        z = slice_to_show(mask, None if cam is None else cam[0])
        channel = channel_that_is_there(image, self.channel)
        shown = image[channel][..., z]
        columns = {"image": shown}
        if cam is not None:
            columns[MAP] = cam[0][..., z]
        columns["prediction"] = mask[..., z].astype(int)
        figure, axes = plt.subplots(1, len(columns), figsize=(3 * len(columns), 3.9), layout="constrained")
        for axis, (title, label) in zip(axes, columns.items(), strict=True):
            draw(axis, shown, label, title)
            axis.set_title(title, fontsize=10)
        axes[0].set_title(self.title_of(channel), fontsize=10)
        if cam is not None:
            scale = figure.colorbar(axes[1].images[1], ax=list(axes), location="bottom", **COLOR_BAR)
            scale.ax.set_facecolor("gray")  # seen through the colors, as the image is
        if not mask.any():
            write_on(axes[-1], "no voxel segmented")
        count = int((mask > 0).sum())
        voxels = f"{count or 'no'} voxel{'s' * (count > 1)} segmented"
        figure.suptitle(f"{case}, slice {z + 1} of {mask.shape[-1]} (from 1), {voxels}", fontsize=9)
        file = self.output_dir / f"{case}.png"
        file.parent.mkdir(parents=True, exist_ok=True)  # a case may be called by its folders
        figure.savefig(file, dpi=110)
        plt.close(figure)

    def title_of(self, channel: int) -> str:
        """Name of the modality that is drawn, and of the wanted one if that is another."""
        if not self.modalities:
            return "image"
        drawn, wanted = self.modalities[channel], self.modalities[self.channel]
        return drawn if channel == self.channel else f"{drawn} ({wanted} is missing)"


def slice_to_show(mask: np.ndarray, cam: np.ndarray | None) -> int:
    """Number along the last axis of the slice of (H, W, D) with the largest object, or the highest map."""
    if mask.any():
        return int((mask > 0).sum(axis=(0, 1)).argmax())
    if cam is not None and cam.any():
        return int(cam.max(axis=(0, 1)).argmax())
    return mask.shape[-1] // 2


def slices_last(volume: torch.Tensor) -> np.ndarray:
    """A tensor (C, X, Y, Z) as an array whose last axis is the one across which slices are cut."""
    array = np.asarray(torch.as_tensor(volume).cpu())
    if not isinstance(volume, MetaTensor):
        return array
    return np.moveaxis(array, 1 + slice_axis(volume.affine.numpy(), array.shape[1:]), -1)
