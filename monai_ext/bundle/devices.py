"""The device of a run: whether this machine has it."""

from typing import Any

import torch

from monai_ext.bundle.values import is_config_syntax
from monai_ext.bundle.workflow import Run
from monai_ext.errors import InputError


def as_device(value: Any, run: Run) -> str:
    """The expression of a device, whether it was given as a name or as an expression.

    Raises:
        InputError: naming the devices of this machine, if it has no such device.
    """
    try:
        found = run.parser.get_parsed_content("device") if is_config_syntax(value) else value
        device = found if isinstance(found, torch.device) else torch.device(str(found).strip())
    except Exception:  # torch's for an unknown name, or whatever somebody's expression raises
        raise _absent(value) from None
    if not _is_here(device):
        raise _absent(value)
    return str(value) if is_config_syntax(value) else f"$torch.device('{device}')"


def devices_here() -> list[str]:
    """Names of the devices of this machine."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *["mps"] * torch.backends.mps.is_available()]


def _is_here(device: torch.device) -> bool:
    here = devices_here()
    if device.type == "cpu":
        return True
    return str(device) in here if device.index is not None else any(device.type in name for name in here)


def _absent(value: Any) -> InputError:
    here = devices_here()
    found = (
        "this machine has no GPU that torch can use" if here == ["cpu"] else f"there are {', '.join(here)}"
    )
    return InputError(f"Expected a device of this machine, got {value}; {found}: pass --device {here[-1]}.")
