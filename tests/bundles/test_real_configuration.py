"""Every bundle takes steps at the batch, size, widths and memory format that it ships with.

The other tests train tiny networks: faults of a library at one size or memory layout are not theirs to find.
"""

from pathlib import Path

import pytest

from tests.bundles.real_configuration import STEPS
from tests.processes import place, run_python

SCRIPT = Path(__file__).with_name("real_configuration.py")
OTHER_NETWORKS = {
    "brats_weak_cam_segmentation": ["second_stage"],
    "noisy_label_segmentation": ["volumes"],
}
"""Mix-ins of train.yaml that bring a network of another kind."""


@pytest.fixture
def shipped_data(tiny, data, tmp_path):
    """Data of the configuration as shipped, which may need more than the tiny one."""
    return tiny.shipped_data(tmp_path) if tiny.shipped_data else data


def test_steps_of_the_shipped_configuration_reach_their_end(bundle, name, shipped_data):
    words = [SCRIPT, shipped_data, *OTHER_NETWORKS.get(name, [])]
    done = run_python(
        *words,
        what=f"training of {name}",
        cwd=bundle.root,
        PYTHONPATH=str(SCRIPT.parents[2]),
        MALLOC_PERTURB_="165",  # freed and new memory is filled, so that reading it shows
    )
    assert done.returncode == 0, f"training of {name} failed {place(done.stderr)}\n{done.stderr}"
    assert f"backward pass of step {STEPS}\n" in done.stderr
