"""How far an inference is, what it wrote where, and what a person should look at."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from monai.data import MetaTensor

from monai_ext.handlers.mask_facts import border_axes, mask_facts
from monai_ext.handlers.progress_bar import BarFromZero
from monai_ext.handlers.volume_table import NAME, VolumeTable
from monai_ext.keys import CASE, FILE, PRED, UNIT, VOXEL

logger = logging.getLogger(__name__)

NAMED = 5
"""Files that a message names at most."""
CUBIC_MM_PER_ML = 1000
SAVED_TO = "saved_to"
"""Key of the meta under which ``SaveImaged`` says where a mask is, with ``savepath_in_metadict``."""


class InferenceSummary:
    """Show a progress bar, write ``volumes.csv``, and log what was written and what is unusual about it.

    Each mask has a row in ``volumes.csv`` beside the masks, see ``VolumeTable``. A mask that is empty, lacks
    a class, has several parts of one, or touches the border of the image has a warning, and so have masks
    that replace earlier ones. The last line says how many segmentations were written where.

    Event: STARTED, ITERATION_COMPLETED, COMPLETED. Reads: ``engine.state.output``, decollated, with ``pred``
    (1, X, Y, Z) and its meta; ``engine.state.batch`` with ``case``, ``file`` and ``unit`` where they are.
    Writes: the table. State: none.

    Args:
        output_dir: folder of the segmentations, as the config gives it to ``SaveImaged``.
        labels: names of the classes, background first; None: no table and no remarks.
        num_classes: of the network. If ``labels`` are not as many, the classes are called by their number.
        slices: whether the network sees slices, of which only the border within their plane counts.
    """

    def __init__(
        self,
        output_dir: str,
        labels: Sequence[str] | None = None,
        num_classes: int | None = None,
        slices: bool = True,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.names = None if labels is None else class_names(labels, num_classes)
        self.slices = slices
        self.table: VolumeTable | None = None
        self.count, self.there, self.replaced, self.remarks = 0, set[str](), list[str](), list[str]()

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        BarFromZero("segmenting").attach(engine)
        engine.add_event_handler(Events.COMPLETED, self.tell)

    def start(self, engine: Engine) -> None:
        """Count from 0, and see what is there already."""
        self.count, self.replaced, self.remarks = 0, [], []
        self.there = {os.path.abspath(file) for file in self.output_dir.rglob("*.nii.gz")}
        if self.names is not None:
            self.table = VolumeTable(self.output_dir)

    def __call__(self, engine: Engine) -> None:
        """Count the segmentations of this iteration, and look at each."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        self.count += len(output)
        for given, made in zip(batch, output, strict=True):
            mask = made[PRED]
            saved = mask.meta.get(SAVED_TO) if isinstance(mask, MetaTensor) else None
            if saved and os.path.abspath(saved) in self.there:
                self.replaced.append(self.relative(saved))
            if self.table is not None:
                self.look_at(given, mask, self.relative(saved) if saved else "", self.table)

    def look_at(self, given: dict[str, Any], mask: MetaTensor, file: str, table: VolumeTable) -> None:
        """Put the volumes of a mask into the table, and keep what is unusual for the end."""
        affine = np.asarray(mask.affine, dtype=float)
        found = mask_facts(
            np.asarray(mask[0].cpu()), self.names or (), border_axes(affine, mask.shape[1:], self.slices)
        )
        known = given.get(UNIT) != VOXEL
        voxel_ml = abs(float(np.linalg.det(affine[:3, :3]))) / CUBIC_MM_PER_ML if known else None
        case = str(given.get(CASE, file))
        voxels = dict(zip(self.names or (), found.voxels, strict=True))
        table.put(case, str(given.get(FILE, "")), file, voxels, voxel_ml)
        self.remarks += [f"case {case}: {'; '.join(found.words)}"] if found.words else []

    def relative(self, saved: str) -> str:
        """Path of a mask from the folder of the masks."""
        return Path(os.path.relpath(saved, self.output_dir)).as_posix()

    def tell(self, engine: Engine) -> None:
        """Log what is unusual, then the number and the folder."""
        for remark in self.remarks:
            logger.warning(remark)
        if self.replaced:
            named = ", ".join([*self.replaced[:NAMED], *["..."] * (len(self.replaced) > NAMED)])
            many = f"{len(self.replaced)} segmentations" if len(self.replaced) > 1 else "1 segmentation"
            logger.warning(f"{many} replaced an earlier file of the same name: {named}")
        beside = f" and their volumes to {NAME}" if self.table is not None and self.count else ""
        logger.info(f"wrote {self.count} segmentation{'s' * (self.count != 1)} to {self.output_dir}" + beside)


def class_names(labels: Sequence[str], num_classes: int | None) -> list[str]:
    """Names of the classes from 1 on; their numbers if there are not as many names as classes."""
    if num_classes in (None, len(labels)):
        return list(labels[1:])
    logger.info(
        f"{len(labels)} labels for {num_classes} classes, which are called by their numbers; pass --labels"
    )
    return [f"class {number}" for number in range(1, num_classes or 1)]
