"""Where the voxels of files lie, by how much two grids differ, and which file of a case is the odd one."""

from collections.abc import Callable, Sequence
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np

AFFINE_TOLERANCE = 0.01
"""Largest distance, in voxels, between the corners of two grids that count as one."""


class Grid(NamedTuple):
    """Where the voxels of a file lie: enough to compare two files without keeping their voxels."""

    path: Path
    shape: tuple[int, ...]
    """Spatial sizes, three at most: channels do not count."""
    affine: np.ndarray
    """Voxel indices to millimeters, (4, 4), right-anterior-superior."""


class Volume(NamedTuple):
    """All voxels of one file."""

    path: Path
    array: np.ndarray
    """(X, Y, Z) or (X, Y, Z, channels), in the data type of the file, scaled as its header says."""
    affine: np.ndarray
    """Voxel indices to millimeters, (4, 4), right-anterior-superior."""
    header: np.ndarray | None = None
    """Bytes (uint8) of the file's NIfTI header, or of one made for it, with which masks are written."""

    @property
    def grid(self) -> Grid:
        """Shape and affine without the voxels."""
        return Grid(self.path, self.array.shape[:3], self.affine)

    @property
    def channels(self) -> int:
        """Size of the fourth axis; 1 if there is none."""
        return self.array.shape[3] if self.array.ndim > 3 else 1


def corner_shift(affine: np.ndarray, standard: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance between the corners of a volume under two affines, in voxels of the second.

    >>> float(corner_shift(np.diag([1.0, 1, 1, 1]), np.diag([1.0, 1, 2, 1]), (4, 4, 5)))
    2.0
    """
    sizes = [*shape, 1, 1, 1][:3]
    corners = np.array([*product(*((0, size - 1) for size in sizes))], dtype=float)
    apart = corners @ (affine - standard)[:3, :3].T + (affine - standard)[:3, 3]
    try:
        return float(np.abs(np.linalg.solve(standard[:3, :3], apart.T)).max())
    except np.linalg.LinAlgError:
        return float("nan")


def affine_difference(grid: Grid, standard: Grid) -> str:
    """By how much an affine differs from another, such as "origin by 5"; empty within the tolerance."""
    shift = corner_shift(grid.affine, standard.affine, standard.shape)
    if shift <= AFFINE_TOLERANCE:
        return ""
    difference = np.abs(grid.affine - standard.affine)
    axes, origin = float(difference[:3, :3].max()), float(difference[:3, 3].max())
    return " and ".join(
        f"{what} by {by:.4g}"
        for what, by in (("spacing or axes", axes), ("origin", origin))
        if not by <= 1e-6 * np.nanmax(np.abs(standard.affine))
    )


def common_grid(grids: Sequence[Grid], names: Sequence[str]) -> tuple[Grid | None, list[str]]:
    """The grid on which most files of a case lie, and what is wrong with the others.

    Affines are compared among the files that have the shape of most.

    Args:
        grids: of the files, at least one.
        names: of their modalities, for the messages.

    Returns:
        The grid, or None if no shape or no affine has more files than every other; and at most one message
        for shapes and one for affines, which opens with the files that differ from most, or with all of them.
    """
    files = list(zip(names, grids, strict=True))
    shapes = _groups(files, lambda a, b: a.shape == b.shape)
    problems = [_shape_problem(shapes, files)] if len(shapes) > 1 else []
    if _tied(shapes):
        return None, problems
    affines = _groups(shapes[0], lambda a, b: not affine_difference(a, b))
    if len(affines) > 1:
        problems.append(_affine_problem(affines))
    return None if _tied(affines) else affines[0][0][1], problems


Named = tuple[str, Grid]
"""Name of a modality, and where the voxels of its file lie."""


def _groups(files: Sequence[Named], alike: Callable[[Grid, Grid], bool]) -> list[list[Named]]:
    """The files in groups that are alike, the largest group first."""
    groups: list[list[Named]] = []
    for file in files:
        group = next((group for group in groups if alike(file[1], group[0][1])), None)
        if group is None:
            groups.append([file])
        else:
            group.append(file)
    return sorted(groups, key=len, reverse=True)


def _tied(groups: Sequence[Sequence[Named]]) -> bool:
    return len(groups) > 1 and len(groups[0]) == len(groups[1])


def _blamed(groups: Sequence[Sequence[Named]]) -> str:
    """Paths of the files that differ from most, of all if there is no most."""
    odd = chain(*groups) if _tied(groups) else chain(*groups[1:])
    return ", ".join(str(grid.path) for _, grid in odd)


def _shape_problem(groups: Sequence[Sequence[Named]], files: Sequence[Named]) -> str:
    shape = groups[0][0][1].shape
    wanted = "one shape for all modalities" if _tied(groups) else f"shape {shape} as in the other modalities"
    got = ", ".join(f"{name} {grid.shape}" for name, grid in files)
    return (
        f"{_blamed(groups)}: Expected {wanted}, got {got}; resample all onto one grid or correct the pairing."
    )


def _affine_problem(groups: Sequence[Sequence[Named]]) -> str:
    name, standard = groups[0][0]
    wanted = "one affine for all modalities" if _tied(groups) else "the affine of the other modalities"
    others = ", ".join(f"{n} ({affine_difference(grid, standard)})" for n, grid in chain(*groups[1:]))
    return (
        f"{_blamed(groups)}: Expected {wanted}, got another in {others} than in {name} "
        f"(tolerance {AFFINE_TOLERANCE:g} voxel); resample all onto one grid or correct the header."
    )
