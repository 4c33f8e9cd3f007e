"""Python as a process of its own, for work that may crash or hang: its test fails and says where."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HEAP_CHECKS = {"LD_PRELOAD": "libc_malloc_debug.so.0", "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
"""Environment in which the C library of Linux soon ends a process that wrote beyond its memory."""

_MARK = "part: "


def enter(part: str) -> None:
    """Say, in the process itself, what it does from now on."""
    print(f"{_MARK}{part}", file=sys.stderr, flush=True)


def run_python(
    *words: object, what: str, cwd: Path | None = None, timeout: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with these words on one thread; the test fails if a signal ends it or it takes too long.

    Args:
        words: a script or ``-m`` and a module, and their arguments.
        what: the subject of the message, such as "training of BUNDLE".
        cwd: where it runs.
        timeout: in seconds.
        environment: further variables.

    Returns:
        What it wrote and its exit status, which is for the caller to judge.
    """
    variables = {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", **environment}
    try:
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **variables},
        )
    except subprocess.TimeoutExpired as late:
        told = (late.stderr or b"").decode(errors="replace")  # bytes in spite of text=True
        pytest.fail(f"{what} did not end within {timeout:g} s {place(told)}\n{end_of(told)}")
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        pytest.fail(f"{what} was ended by signal {name} {place(done.stderr)}\n{end_of(done.stderr)}")
    return done


def place(told: str) -> str:
    """Where a process was, by the last part that it said it enters."""
    parts = [line.removeprefix(_MARK) for line in told.splitlines() if line.startswith(_MARK)]
    return f"in the {parts[-1]}" if parts else "before it said where it was"


def end_of(told: str) -> str:
    """The last lines, without the list of loaded libraries that Python adds after a crash."""
    return told.split("\nExtension modules: ")[0][-2000:]
