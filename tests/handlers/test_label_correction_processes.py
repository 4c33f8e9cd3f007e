"""Labels corrected by several processes: here two on the CPU that talk by Gloo, as GPUs would by NCCL."""

import socket
import sys
from functools import partial
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
from tests.processes import run_python

SCRIPT = Path(__file__).resolve()
ROOT = SCRIPT.parents[2]
NORMS = {"none": nn.Identity, "batch": partial(nn.BatchNorm2d, momentum=0.9)}


class Scripted(MemorizationDetector):
    """Detects every class at once."""

    def reason(self, k, max_epochs):
        return "as scripted"


def same(item):
    return item


def correct(norm, wrap, rank, ranks):
    """Two epochs of batches that the processes share, and the pass between them."""
    g, data = torch.Generator().manual_seed(0), []
    for n in range(5):
        image, label = (
            n * torch.randn(1, 9, 8, 2 + n, generator=g),
            torch.randint(3, (1, 9, 8, 2 + n), generator=g),
        )
        data.append({IMAGE: image, LABEL: label, "case": str(n), SUPERVISION: "full" if n == 1 else "noisy"})
    cache = DeviceCache(data, same, progress=False)
    torch.manual_seed(0)
    last = nn.Conv2d(8, 3, 1)
    nn.init.normal_(last.weight, std=5)  # so that every class is predicted somewhere
    network = wrap(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), norm(8), nn.ReLU(), last))
    parts = CorrectLabels(0, 0), SliceBatchInferer(autocast=False), AveragingInferer(autocast=False)
    correction = LabelCorrection(LabelJournal(cache), network, Scripted(3), *parts, momentum=0.5)

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


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes find, by normalization and rank."""
    folder = tmp_path_factory.mktemp("processes")
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    here = {"GLOO_SOCKET_IFNAME": loopback, "CUDA_VISIBLE_DEVICES": ""}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = run_python(*launcher, SCRIPT, folder, what="a pass by two processes", PYTHONPATH=str(ROOT), **here)
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return {name: [rank[name] for rank in ranks] for name in NORMS}


@pytest.mark.slow
def test_processes_share_the_work_and_agree_with_a_single_one(found):
    alone = correct(NORMS["none"], same, 0, 1)
    assert alone["changes"]
    for rank in found["none"]:
        torch.testing.assert_close(rank, alone, rtol=0, atol=0)


@pytest.mark.slow
def test_all_processes_predict_by_the_batch_statistics_of_the_first(found):
    first, second = (correct(NORMS["batch"], same, rank, 2) for rank in range(2))  # each by its own batches
    assert not all(map(torch.equal, first["labels"], second["labels"]))
    for rank in found["batch"]:
        torch.testing.assert_close(rank["labels"], first["labels"], rtol=0, atol=0)
        torch.testing.assert_close(rank["changes"], first["changes"], rtol=0, atol=0)


if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    own = torch.distributed.get_rank()
    done = {name: correct(norm, DistributedDataParallel, own, 2) for name, norm in NORMS.items()}
    torch.save(done, Path(sys.argv[1]) / f"{own}.pt")
    torch.distributed.destroy_process_group()
