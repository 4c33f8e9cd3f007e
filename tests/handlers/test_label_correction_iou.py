"""The training IoU that an epoch of label correction counts."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from monai.inferers import SimpleInferer
from torch import nn

from monai_ext.handlers import LabelCorrection
from monai_ext.keys import SUPERVISION, UNLABELED, Supervision
from monai_ext.transforms import CorrectLabels
from tests.handlers.noisy_training import K, Scripted


def by_hand(batches):
    """IoU of classes 1 and 2 by the equation, voxel by voxel."""
    counts = {k: [0, 0, 0] for k in range(1, K)}
    for pred, label, kinds in batches:
        for item, kind in enumerate(kinds):
            for p, y in zip(pred[item].flatten().tolist(), label[item].flatten().tolist(), strict=True):
                for k, count in counts.items():
                    if kind is Supervision.NOISY and y != UNLABELED:
                        count[0] += p == y == k
                        count[1] += p == k
                        count[2] += y == k
    return [both / max(1, found + true - both) for both, found, true in counts.values()]


def count_epochs(epochs, rule):
    """Run the handler over epochs of (logits, label, kinds) and return the IoU of the detector."""
    journal, detector = SimpleNamespace(items=[]), Scripted({})
    correction = LabelCorrection(journal, nn.Identity(), detector, rule, SimpleInferer(), SimpleInferer())

    def step(engine, _):
        logits, label, kinds = epochs[engine.state.epoch - 1][engine.state.iteration % 2]
        engine.state.batch = {SUPERVISION: torch.tensor([kind.code for kind in kinds])}
        return {"pred": logits.requires_grad_(), "label": label}

    engine = Engine(step)
    correction.attach(engine)
    engine.run([0, 0], max_epochs=len(epochs))
    return list(zip(*detector.iou.values(), strict=True))


@pytest.mark.parametrize("size", [(6, 5), (4, 3, 3)], ids=["2d", "3d"])
@pytest.mark.parametrize("scales", [0, 1, 3])
@pytest.mark.parametrize("thresholds", [(0.7, 0.7), (0.3, 0.6)], ids=str)
def test_every_epoch_counts_the_noisy_items_of_its_own_batches(size, scales, thresholds):
    kinds = [Supervision.NOISY, Supervision.FULL, Supervision.NOISY, Supervision.PARTIAL]
    rule, epochs, wanted = CorrectLabels(*thresholds), [], []
    for _ in range(2):
        batches = []
        for order in itertools.islice(itertools.permutations(kinds), 2):
            label = torch.tensor([0, 1, 2, UNLABELED])[torch.randint(0, 4, (4, 1, *size))]
            logits = torch.randn(4, *[scales] * bool(scales), K, *size)
            batches.append((logits, label, order))
        means = [(x.mean(dim=1) if scales else x).softmax(dim=1) for x, *_ in batches]
        preds = [torch.stack([rule.predict(p) for p in probs]) for probs in means]
        wanted.append(by_hand([(p, y, order) for p, (_, y, order) in zip(preds, batches, strict=True)]))
        epochs.append(batches)
    found = count_epochs(epochs, rule)
    assert found == [pytest.approx(iou) for iou in wanted] and found[0] != found[1]


def test_a_class_that_is_nowhere_has_no_iou_and_causes_no_error():
    logits, label = torch.zeros(1, K, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.long)
    batch = (logits, label, [Supervision.NOISY])
    assert count_epochs([[batch, batch]], CorrectLabels()) == [(0, 0)]
    batch = (logits, label + 1, [Supervision.FULL])
    assert count_epochs([[batch, batch]], CorrectLabels()) == [(0, 0)]
