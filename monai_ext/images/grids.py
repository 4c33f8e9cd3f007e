"""Whether the files of a case's modalities lie voxel on voxel, and which is the odd one where they do not."""

from collections.abc import Callable, Sequence
from itertools import chain

from monai_ext.images.files import AFFINE_TOLERANCE, Grid, affine_difference

Named = tuple[str, Grid]
"""Name of a modality, and where the voxels of its file lie."""


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
        f"(tolerance {AFFINE_TOLERANCE:g}); resample all onto one grid or correct the header."
    )
