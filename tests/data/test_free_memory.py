import torch

from monai_ext.data import free_memory
from monai_ext.data.free_memory import available_bytes, free_gb


def test_processes_of_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(free_memory, "available_bytes", lambda: 8e9)
    assert free_gb(torch.device("cpu")) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_gb(torch.device("cpu")) == 1


def test_memory_in_use_is_not_available(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       24731708 kB\nMemFree:  15 kB\nMemAvailable:   2000 kB\n")
    assert available_bytes(meminfo) == 2_048_000
    meminfo.write_text("MemTotal:       24731708 kB\n")
    physical = available_bytes(meminfo)
    assert physical == available_bytes(tmp_path / "missing") > 2_048_000
    assert 0 < available_bytes() <= physical
