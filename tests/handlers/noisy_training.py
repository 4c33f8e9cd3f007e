"""What the tests of ``LabelCorrection`` share: noisy cases, a network, the handler, a training with it."""

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer, default_prepare_batch
from monai.inferers import SimpleInferer
from torch import nn

from monai_ext.data import BatchLoader, DeviceCache, LabelJournal
from monai_ext.handlers import Checkpoints, EpochSeed, LabelCorrection, MemorizationDetector
from monai_ext.inferers import AveragingInferer, SliceBatchInferer
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, UNLABELED
from monai_ext.transforms import CorrectLabels

K = 3


class Scripted(MemorizationDetector):
    """Detects every class in a given epoch."""

    def __init__(self, when):
        super().__init__(K)
        self.when = when

    def reason(self, k, max_epochs):
        return "as scripted" if len(self.iou[k]) >= self.when.get(k, 1000) else None


def same(item):
    return item


def items(dims, size=12):
    """Two noisy cases and one that is not: bright and brighter boxes, of which a fifth is not labeled."""
    g, found = torch.Generator().manual_seed(0), []
    for n, kind in enumerate(["noisy", "full", "noisy"]):
        label = torch.zeros(1, size, size, 4 if dims == 2 else 8, dtype=torch.long)
        label[:, 2:8, 2:8, 1:], label[:, 5:8, 2:8, 1:] = 1, 2
        image = 2.0 * label + 0.1 * torch.randn(label.shape, generator=g)
        label[torch.rand(label.shape, generator=g) < 0.2] = 0
        label[:, 0, :, 0] = UNLABELED
        found.append({IMAGE: image, LABEL: label, "case": f"c{n}", SUPERVISION: kind})
    return found


def make_network(dims, certainty=1):
    torch.manual_seed(1)
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
    parts = [conv(1, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Dropout(0.2), conv(8, K, 1)]
    nn.init.normal_(parts[-1].weight, std=certainty)
    return nn.Sequential(*parts)


def make_correction(dims=2, network=None, detector=None, **options):
    patch_size = None if dims == 2 else (8, 8, 8)
    cache = DeviceCache(items(dims), same, patch_size=patch_size, progress=False)
    return LabelCorrection(
        LabelJournal(cache),
        network or make_network(dims),
        detector or MemorizationDetector(K, relative_change=0.5, latest_fraction=0.4),
        CorrectLabels(0.5, 0.5, per_slice=dims == 2),
        SliceBatchInferer(3, autocast=False) if dims == 2 else SimpleInferer(),
        AveragingInferer((1, 1.5), flip_axes=[0], divisor=2, autocast=False),
        **{"momentum": 0.5} | options,
    )


def labels(correction):
    return [correction.journal.cache.volume(item)[1].clone() for item in range(3)]


def train(folder, epochs=8, resume=False, stop=None, dims=2, **options):
    """Train with checkpoints, perhaps up to an interruption; gives the network and what corrected labels."""
    network = make_network(dims)
    correction = make_correction(dims, network, **options)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    loader = BatchLoader(correction.journal.cache, batch_size=3, batches_per_epoch=4)
    stateful = {"correction": correction}
    checkpoints = Checkpoints(network, optimizer, None, str(folder), "", resume=resume, stateful=stateful)
    cross_entropy = nn.CrossEntropyLoss(ignore_index=UNLABELED)
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loader,
        network,
        optimizer,
        lambda logits, label: cross_entropy(logits, label[:, 0]),
        prepare_batch=default_prepare_batch,
        train_handlers=[correction, EpochSeed(0, loader), checkpoints],
        decollate=False,
    )
    if stop:
        trainer.add_event_handler(Events.EPOCH_COMPLETED(once=stop), lambda engine: engine.terminate())
    trainer.run()
    return network, correction
