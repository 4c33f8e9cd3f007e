"""The shortcut of the residual block, on the memory layout in which training runs."""

from pathlib import Path

from tests.processes import HEAP_CHECKS, place, run_python

SCRIPT = Path(__file__).with_name("shortcut_gradients.py")


def test_output_and_gradients_of_the_residual_block_are_those_of_monai():
    environment = HEAP_CHECKS | {"PYTHONPATH": str(SCRIPT.parents[2])}
    done = run_python(SCRIPT, what="the residual block", timeout=120, **environment)
    assert done.returncode == 0, f"the residual block failed {place(done.stderr)}\n{done.stderr}"
    assert place(done.stderr) == "in the end"
