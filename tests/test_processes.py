import os
import sys

import pytest

from tests.processes import enter, run_python

STEP = "import sys; print('part: backward pass of step 2', file=sys.stderr, flush=True); "
"""What `enter` does, without its imports."""


def test_what_is_entered_is_a_line_of_the_standard_error(capsys):
    enter("backward pass of step 2")
    assert capsys.readouterr().err == "part: backward pass of step 2\n"


def test_an_end_by_a_signal_fails_with_its_name_and_the_part():
    with pytest.raises(pytest.fail.Exception) as failed:
        run_python("-c", STEP + "import os; os.abort()", what="training of a bundle")
    first, *rest = str(failed.value).splitlines()
    assert first == "training of a bundle was ended by signal SIGABRT in the backward pass of step 2"
    assert any(line.startswith('  File "<string>", line 1') for line in rest)  # where Python was


def test_a_hang_fails_with_the_part():
    wanted = "^training did not end within 2 s in the backward pass of step 2\n"
    with pytest.raises(pytest.fail.Exception, match=wanted):
        run_python("-c", STEP + "import time; time.sleep(60)", what="training", timeout=2)


def test_a_crash_before_the_first_part_says_so():
    with pytest.raises(pytest.fail.Exception, match="ended by signal SIGSEGV before it said where it was"):
        run_python("-c", "import faulthandler; faulthandler._sigsegv()", what="training")


def test_other_ends_are_for_the_caller_to_judge(tmp_path):
    done = run_python(
        "-c", "import os; print(os.getcwd(), os.environ['A']); exit(3)", what="", cwd=tmp_path, A="b"
    )
    assert done.returncode == 3 and done.stdout == f"{tmp_path} b\n"


def test_the_process_has_one_thread_and_this_interpreter(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "8")
    told = run_python(
        "-c", "import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.executable)", what=""
    ).stdout
    assert told.split() == ["1", sys.executable]
