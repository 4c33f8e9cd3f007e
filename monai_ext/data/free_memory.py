"""How much memory a cache may take."""

import os
from pathlib import Path

import torch

GIGABYTE = 1e9
HOST = torch.device("cpu")


def free_gb(device: torch.device) -> float:
    """GB that a cache may take: 60 % of a GPU's free memory, or half of the machine's available memory.

    The latter is shared by the processes that ``torchrun`` started on this machine (``LOCAL_WORLD_SIZE``).
    """
    if device.type == "cuda":
        return 0.6 * torch.cuda.mem_get_info(device)[0] / GIGABYTE
    return 0.5 * available_bytes() / int(os.environ.get("LOCAL_WORLD_SIZE", 1)) / GIGABYTE


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory that is not in use, where the system tells it; else all of the machine's; else 8 GB."""
    if meminfo.is_file():
        fields = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines())
        if "MemAvailable" in fields:
            return 1024 * float(fields["MemAvailable"].split()[0])  # stated in kB, which are KiB
    if hasattr(os, "sysconf"):
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return 8 * GIGABYTE
