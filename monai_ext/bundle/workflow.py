"""The run that an expression of a config is part of."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow

OWN_ARGUMENTS = frozenset(
    "run_id init_id final_id meta_file config_file logging_file tracking args_file workflow_name "
    "workflow_type properties_path".split()
)
"""What ``monai.bundle run`` keeps for itself; everything else overrides an id of the config."""


@dataclass(frozen=True)
class Run:
    """A workflow that is being initialized.

    Attributes:
        parser: its config, overrides included.
        written: its config files as they are written, merged; empty if it is not known which they are.
        overrides: values by id, as given on the command line or in ``args_file``.
        dropped: ids that were given None, which MONAI leaves out without a word.
        tracked: whether MONAI's experiment tracking adds ids of its own.
    """

    parser: ConfigParser
    written: dict[str, Any]
    overrides: Mapping[str, Any]
    dropped: tuple[str, ...] = ()
    tracked: bool = False


def find_run() -> Run | None:
    """The workflow whose ``initialize`` is calling; None if there is none.

    MONAI gives an expression no handle on the config that it stands in, nor on what the command line
    overrode. Both are local variables of functions that wait further up the call stack, so they are looked
    up there.
    """
    frame: FrameType | None = sys._getframe(1)
    workflow: Any = None
    while frame is not None:
        if workflow is None and frame.f_code is ConfigWorkflow.initialize.__code__:
            workflow = frame.f_locals["self"]
        elif frame.f_code is create_workflow.__code__:
            if workflow is not None and frame.f_locals.get("workflow_") is workflow:
                return _of_command(frame.f_locals["workflow_"].parser, frame.f_locals)
        frame = frame.f_back
    return Run(workflow.parser, {}, {}) if workflow is not None else None


def _of_command(parser: ConfigParser, found: Mapping[str, Any]) -> Run:
    """What ``create_workflow`` was given; ``found`` are its local variables."""
    given = {key: value for key, value in found["_args"].items() if key not in OWN_ARGUMENTS}
    return Run(
        parser,
        ConfigParser.load_config_files(found["config_file"]),
        given,
        tuple(key for key, value in found["kwargs"].items() if value is None and key not in OWN_ARGUMENTS),
        tracked=found["_args"].get("tracking") is not None,
    )
