"""Segment what can be segmented, and say in one line what cannot."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from monai.transforms import Resized

from monai_ext.bundle.failing_cases import failing_cases
from monai_ext.bundle.inputs import Missing
from monai_ext.data.free_memory import available_bytes
from monai_ext.errors import InputError
from monai_ext.images.headers import shape_in_header, unit_in_header
from monai_ext.images.inputs import Items, files_of, header_problems, incomplete_problem, voxel_problems
from monai_ext.images.memory import GIGABYTE, needed_gb
from monai_ext.keys import FILE, UNIT, VOXEL

logger = logging.getLogger(__name__)


def segment(
    evaluator: Any, classes: int = 2, modalities: Sequence[str] = (), all_needed: bool = False
) -> None:
    """Segment the images that can be read, and name each of the others in one line.

    Before anything is computed, every image is looked at: its header, whether there is memory for it, its
    voxels. One line says how many images there are and how much memory the largest takes. What fails later,
    see ``failing_cases``, has its line as well.

    Args:
        evaluator: the engine; its loader's ``Dataset`` is left with the images that can be read.
        classes: number of classes K, for the estimate of the memory.
        modalities: names of the network's channels, if there are several.
        all_needed: whether a case must have all ``modalities``.

    Raises:
        InputError: at the end if an image was left out or failed; at once, with all the reasons, if every one
            was left out.
    """
    dataset = evaluator.data_loader.dataset
    if isinstance(dataset.data, Missing):
        raise dataset.data.reason
    found = list(dataset.data)
    memory = _Memory(dataset.transform, len(modalities) or 1, classes)
    kept, refused = [], []
    for item in found:
        lacking = incomplete_problem(item, modalities) if all_needed else None
        problems = (
            [lacking] if lacking else header_problems(item) or memory.problems(item) or voxel_problems(item)
        )
        kept += [] if problems else [_described(item)]
        refused += problems[:1] if len(problems) < 2 else ["; ".join(problems)]
    if not kept:
        raise InputError("\n".join([*refused, "Nothing was segmented."] if len(found) > 1 else refused))
    for problem in refused:
        logger.error(problem)
    logger.info(memory.plan(kept))
    dataset.data = kept
    evaluator.state.epoch_length = len(evaluator.data_loader)
    with failing_cases(evaluator, alone=len(found) == 1) as failed:
        evaluator.run()
    if lost := len(refused) + len(failed):
        raise InputError(
            f"{lost} of {len(found)} images {'were' if lost > 1 else 'was'} not segmented; "
            "see the lines above."
        )


def _described(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item that also says which file it was made of, and in which unit the spacing is."""
    first = files_of(item)[0]
    unit = VOXEL if item.get(UNIT) == VOXEL else unit_in_header(first)
    return {**item, FILE: str(first), UNIT: unit}


class _Memory:
    """The estimate of the memory that images take, and what is free as it is made."""

    def __init__(self, preprocessing: Any, channels: int, classes: int) -> None:
        resized = [t for t in getattr(preprocessing, "transforms", ()) if isinstance(t, Resized)]
        self.network_size: Any = resized[-1].resizer.spatial_size if resized else [-1, -1, -1]
        self.channels, self.classes = channels, classes
        self.free = available_bytes() / GIGABYTE

    def needed(self, item: Mapping[str, Any]) -> tuple[float, tuple[int, ...]]:
        """GB, and the sizes of the image; 0 if its header cannot be read, which its voxels show."""
        shape = (shape_in_header(files_of(item)[0]) or (0, 0, 0))[:3]
        seen = [s if n == -1 else n for s, n in zip(shape, self.network_size, strict=True)]
        return needed_gb(shape, seen, self.channels, self.classes), shape

    def problems(self, item: Mapping[str, Any]) -> list[str]:
        """One text if the item needs more memory than is free."""
        needed, shape = self.needed(item)
        if needed <= self.free:
            return []
        return [
            f"{files_of(item)[0]}: Expected an image for which {self.free:.1f} GB of free memory suffice, "
            f"got {_times(shape)} voxels, which take about {needed:.1f} GB; end other programs, use a "
            "machine with more memory, or crop the image."
        ]

    def plan(self, kept: Items) -> str:
        """How many images there are, and the memory for the largest."""
        needed, shape = max(map(self.needed, kept))
        needed = max(needed, 0.1)  # which nobody has to care about
        many = f"{len(kept)} images" if len(kept) > 1 else "1 image"
        which = "the largest" if len(kept) > 1 else "it"
        return (
            f"{many} to segment; {which} has {_times(shape)} voxels and takes about {needed:.1f} GB of "
            f"memory; {self.free:.1f} GB are free"
        )


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
