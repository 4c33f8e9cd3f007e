"""A command's output folder: whole or not at all, apart from the raw one, and errors of one kind."""

import errno
import os

import pytest

from monai_ext.errors import InputError
from monai_ext.preparation.command import command_output


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.mark.parametrize("out", ["raw", "raw/prepared", "."])
def test_raw_and_output_lie_apart(raw, out):
    with (
        pytest.raises(InputError, match="Expected --out apart from --raw"),
        command_output(raw, raw.parent / out, True),
    ):
        pass
    assert files(raw.parent) == ["raw"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "Expected to write .*out, got: No space left"),
        (PermissionError(errno.EACCES, "Permission denied", "x.nii"), "got: Permission denied for x.nii"),
        (ValueError("Expected two classes."), "^Expected two classes"),
    ],
)
def test_a_failure_is_one_line_and_leaves_nothing(raw, error, message):
    with pytest.raises(InputError, match=message), command_output(raw, raw.parent / "out", False) as staged:
        (staged / "half").write_text("x")
        raise error
    assert files(raw.parent) == ["raw"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_nothing(raw, interruption):
    with pytest.raises(interruption), command_output(raw, raw.parent / "out", False) as staged:
        (staged / "half").write_text("x")
        raise interruption
    assert files(raw.parent) == ["raw"]


def test_what_is_whole_has_the_final_name(raw):
    with command_output(raw, raw.parent / "out", False) as staged:
        (staged / "datalist.json").write_text("{}")
        assert not (raw.parent / "out").exists()
    assert files(raw.parent / "out") == ["datalist.json"]
