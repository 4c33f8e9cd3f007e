import errno
import sys

import pytest
import torch

from monai_ext.errors import InputError
from monai_ext.failures import INTERRUPTED, message_of, tell
from monai_ext.handlers import RampUp


class Mended(InputError):
    """A kind of it."""


def raised(error, cause=None, suppressed=False):
    try:
        try:
            raise cause or ValueError("first")
        except Exception as first:
            if suppressed:
                raise error from None
            raise error from (first if cause else None)
    except Exception as caught:
        return caught


@pytest.mark.parametrize("cause", [InputError("line"), Mended("line")])
def test_what_the_user_can_mend_is_found_below_what_monai_wraps_it_in(cause):
    assert message_of(raised(RuntimeError("Failed to evaluate ConfigExpression"), cause)) == "line"


def test_a_message_that_monai_quotes_is_found():
    quoted = (
        "cannot find a suitable reader\nTraceback ...\nmonai_ext.errors.InputError: a.nii: Expected x\n\nmore"
    )
    assert message_of(RuntimeError(quoted)) == "a.nii: Expected x"


def test_a_failure_while_another_was_handled_is_its_own():
    assert message_of(raised(RuntimeError("bug"), InputError("line"), suppressed=True)) is None


def test_a_full_or_forbidden_disk_is_named():
    for number in (errno.ENOSPC, errno.EACCES, errno.EROFS):
        message = message_of(raised(RuntimeError("x"), OSError(number, "reason", "/there")))
        assert message == "Expected permission and room to write /there, got: reason."
    assert message_of(OSError(errno.EINVAL, "reason", "/there")) is None


def test_a_full_gpu_is_named():
    assert "a smaller --train::dataloader::batch_size" in message_of(
        torch.OutOfMemoryError("CUDA out of memory")
    )


def test_a_refused_setting_of_ours_is_shown_and_other_errors_are_not():
    try:
        RampUp(None, fraction=-1)
    except ValueError as error:
        assert message_of(error) == str(error)
    assert message_of(raised(ValueError("Expected by a test"))) is None
    assert message_of(KeyError("x")) is None


def end(error, capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["program", *words])
    with pytest.raises(SystemExit) as caught:
        tell(type(error), error, error.__traceback__)
    shown = capsys.readouterr()
    assert not shown.out
    return caught.value.code, shown.err


def test_one_line_and_exit_code_1(capsys, monkeypatch):
    assert end(InputError("line"), capsys, monkeypatch) == (1, "line\n")
    assert end(InputError("line"), capsys, monkeypatch, "--debug", "false") == (1, "line\n")


@pytest.mark.parametrize("words", [["--debug"], ["--debug", "true"], ["--debug=yes"], ["--debug", "--x"]])
def test_a_traceback_where_it_is_asked_for(capsys, monkeypatch, words):
    code, shown = end(raised(InputError("line")), capsys, monkeypatch, *words)
    assert code == 1 and "Traceback" in shown


def test_a_traceback_for_our_own_faults(capsys, monkeypatch):
    code, shown = end(raised(KeyError("x")), capsys, monkeypatch)
    assert code == 1 and "Traceback" in shown and "KeyError" in shown


def test_an_interruption_says_what_was_kept(capsys, monkeypatch):
    assert end(KeyboardInterrupt(), capsys, monkeypatch) == (130, INTERRUPTED + "\n")
    assert end(KeyboardInterrupt("kept x"), capsys, monkeypatch) == (130, "kept x\n")
