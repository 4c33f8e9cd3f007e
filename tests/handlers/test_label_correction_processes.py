"""Labels corrected by several processes: here two on the CPU that talk by Gloo, as GPUs would by NCCL."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from monai_ext.data import DeviceCache, LabelJournal
from monai_ext.handlers import LabelCorrection, MemorizationDetector
from monai_ext.inferers import AveragingInferer, SliceBatchInferer
from monai_ext.keys import IMAGE, LABEL, SUPERVISION
from monai_ext.transforms import CorrectLabels


class Scripted(MemorizationDetector):
    """Detects every class at once."""

    def reason(self, k, max_epochs):
        return "as scripted"


def same(item):
    return item


def correct(wrap, rank, ranks):
    """One epoch of batches that the processes share, and the pass after it."""
    g, data = torch.Generator().manual_seed(0), []
    for n in range(5):
        image, label = (
            torch.rand(1, 9, 8, 2 + n, generator=g),
            torch.randint(3, (1, 9, 8, 2 + n), generator=g),
        )
        data.append({IMAGE: image, LABEL: label, "case": str(n), SUPERVISION: "full" if n == 1 else "noisy"})
    cache = DeviceCache(data, same, progress=False)
    torch.manual_seed(0)
    network = wrap(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)))
    inferers = SliceBatchInferer(autocast=False), AveragingInferer(autocast=False)
    correction = LabelCorrection(LabelJournal(cache), network, Scripted(3), CorrectLabels(0, 0), *inferers)

    def step(engine, entries):
        engine.state.batch = batch = cache.gather(entries, g)
        return {"pred": network(batch[IMAGE]), "label": batch[LABEL]}

    engine = Engine(step)
    correction.attach(engine)
    engine.run(torch.arange(len(cache)).chunk(4)[rank::ranks], max_epochs=2)
    labels = [cache.volume(item)[1] for item in range(5)]
    return {
        "iou": correction.detector.iou,
        "labels": labels,
        "changes": [list(c) for c in correction.journal.changes],
    }


@pytest.mark.slow
def test_processes_share_the_work_and_agree_with_a_single_one(tmp_path):
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    here = {"GLOO_SOCKET_IFNAME": loopback, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*launcher, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, **here})
    assert done.returncode == 0, done.stderr
    alone = correct(lambda network: network, 0, 1)
    assert alone["changes"]
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, alone, rtol=0, atol=0)


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    own = torch.distributed.get_rank()
    torch.save(correct(DistributedDataParallel, own, 2), Path(sys.argv[1]) / f"{own}.pt")
    torch.distributed.destroy_process_group()
