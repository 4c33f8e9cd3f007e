import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from monai.utils import set_determinism

REPOSITORY = Path(__file__).resolve().parents[1]

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(1)  # the tensors are small: more threads only wait for each other


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the public data sets; a test that asks for it is marked `realdata` by that alone."""
    root = Path(os.environ.get("SCARCE_DATA_ROOT") or REPOSITORY.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real data in {root}: set SCARCE_DATA_ROOT to the folder that holds the data sets")
    return root


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Every test starts from seed 0 and leaves no seed behind."""
    set_determinism(0)
    yield
    set_determinism(None)
