import configparser
import logging
import sys
from pathlib import Path

import pytest

from monai_ext.__main__ import run
from monai_ext.logs import FORMAT, TIME
from monai_ext.preparation import command

REPOSITORY = Path(__file__).resolve().parents[1]


def own_program():
    run()


def prepare_script():
    command.run(lambda: None)


@pytest.fixture(autouse=True)
def level():
    """Other tests know nothing of what is started here."""
    before = logging.getLogger("monai_ext").level
    yield
    logging.getLogger("monai_ext").setLevel(before)


@pytest.mark.parametrize("program", [own_program, prepare_script])
def test_every_command_logs_in_the_same_form(monkeypatch, capsys, program):
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["monai_ext", *(["--version"] if program is own_program else [])])
    with pytest.raises(SystemExit):
        program()
    capsys.readouterr()
    for logger, level in (("monai_ext.data", "info"), ("segthor", "warning"), ("other", "info")):
        getattr(logging.getLogger(logger), level)("said")
    lines = [line.split(" ", 1) for line in capsys.readouterr().err.splitlines()]
    assert [rest for _, rest in lines] == ["INFO monai_ext.data: said", "WARNING segthor: said"]
    assert all(len(time.split(":")) == 3 for time, _ in lines)


def test_bundles_log_in_this_form():
    files = list(REPOSITORY.glob("bundles/*/configs/logging.conf"))
    for file in files:
        config = configparser.RawConfigParser()
        config.read(file)
        assert dict(config["formatter_line"]) == {"format": FORMAT, "datefmt": TIME}
        assert config["handler_console"]["args"] == "(sys.stderr,)"  # as start_logging does
        assert config["logger_saver"]["qualname"] == "SaveImage"  # MONAI's lines repeat our own
        assert config["logger_saver"]["level"] == "WARNING"
    assert files
