from pathlib import Path

import numpy as np
import pytest

from monai_ext.images.grids import Grid, common_grid

NAMES = ["t1", "flair", "t1ce", "t2"]


def grids(*depths, origins=None):
    """Files named after `NAMES`, of so many slices, each at its place along the last axis."""
    found = []
    for name, depth, origin in zip(NAMES, depths, origins or [0] * len(depths), strict=False):
        affine = np.eye(4)
        affine[2, 3] = origin
        found.append(Grid(Path(f"{name}.nii"), (6, 5, depth), affine))
    return found


def common(found):
    return common_grid(found, NAMES[: len(found)])


def test_files_on_one_grid_have_no_problem():
    one, three = grids(4), grids(4, 4, 4, origins=[0, 5e-4, 0])
    assert common(one) == (one[0], []) and common(three) == (three[0], [])


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_the_file_of_another_shape_is_blamed_wherever_it_stands(odd):
    found = grids(*(3 if place == odd else 4 for place in range(3)))
    grid, (message,) = common(found)
    assert grid.shape == (6, 5, 4)
    assert message.startswith(f"{NAMES[odd]}.nii: Expected shape (6, 5, 4) as in the other modalities, got ")
    listed = ", ".join(f"{name} {g.shape}" for name, g in zip(NAMES, found, strict=False))
    assert f"got {listed}; resample all onto one grid" in message


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_the_file_of_another_affine_is_blamed_wherever_it_stands(odd):
    found = grids(4, 4, 4, origins=[20 * (place == odd) for place in range(3)])
    grid, (message,) = common(found)
    others = [name for name in NAMES[:3] if name != NAMES[odd]]
    assert grid.affine[2, 3] == 0
    assert message.startswith(f"{NAMES[odd]}.nii: Expected the affine of the other modalities, got another")
    assert f"another in {NAMES[odd]} (origin by 20) than in {others[0]} (tolerance 0.01 voxel);" in message


@pytest.mark.parametrize("depths", [(3, 4), (3, 4, 5), (3, 4, 3, 4)])
def test_where_no_shape_is_that_of_most_all_files_are_named(depths):
    grid, (message,) = common(grids(*depths))
    files, text = message.split(": ", 1)
    assert grid is None and sorted(files.split(", ")) == sorted(
        f"{name}.nii" for name in NAMES[: len(depths)]
    )
    assert text.startswith("Expected one shape for all modalities, got t1 (6, 5, 3), ")


def test_where_no_affine_is_that_of_most_all_files_are_named():
    grid, (message,) = common(grids(4, 4, origins=[0, 5]))
    assert grid is None and message.startswith("t1.nii, flair.nii: Expected one affine for all modalities, ")
    assert "got another in flair (origin by 5) than in t1 (tolerance 0.01 voxel);" in message


def test_a_shape_and_an_affine_that_differ_are_two_problems_of_two_files():
    found = grids(3, 4, 4, 4, origins=[7, 0, 0, 5])
    grid, (first, second) = common(found)
    assert grid is found[1] and first.startswith("t1.nii: Expected shape (6, 5, 4)")
    assert second.startswith("t2.nii: Expected the affine") and "t1" not in second.replace("t1ce", "")


def test_an_affine_that_is_not_finite_is_the_odd_one():
    found = grids(4, 4, 4)
    found[0].affine[0, 0] = np.nan
    grid, (message,) = common(found)
    assert grid is found[1] and message.startswith("t1.nii: ") and "spacing or axes by nan" in message
