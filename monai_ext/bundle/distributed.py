"""Processes that ``torchrun`` started."""

import os

import torch


def local_device() -> torch.device:
    """The device of this process among those that ``torchrun`` started: one GPU each, otherwise the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device(f"cuda:{os.environ.get('LOCAL_RANK', 0)}")


def start_distributed(device: torch.device) -> None:
    """Join the process group of ``torchrun`` (NCCL between GPUs, otherwise Gloo)."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
