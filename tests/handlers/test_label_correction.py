import itertools
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer, default_prepare_batch
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from monai_ext.data import BatchLoader, DeviceCache, LabelJournal
from monai_ext.handlers import Checkpoints, EpochSeed, LabelCorrection, MemorizationDetector
from monai_ext.inferers import AveragingInferer, SliceBatchInferer
from monai_ext.keys import IMAGE, LABEL, SUPERVISION, UNLABELED, Supervision
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


@pytest.mark.parametrize(
    ("when", "interval", "epochs", "passes"),
    [
        ({1: 3, 2: 6}, 4, 16, [(3, [1]), (6, [1, 2]), (7, [1, 2]), (11, [1, 2]), (15, [1, 2])]),
        ({1: 3, 2: 7}, 4, 11, [(3, [1]), (7, [1, 2])]),  # one pass for both reasons, none in the last epoch
        ({1: 5, 2: 2}, 1, 7, [(2, [2]), (3, [2]), (4, [2]), (5, [1, 2]), (6, [1, 2])]),
        ({1: 2, 2: 2}, 10, 9, [(2, [1, 2])]),
        ({2: 9}, 2, 9, []),
        ({}, 1, 9, []),
    ],
)
def test_passes_come_with_a_detection_and_then_at_the_interval(when, interval, epochs, passes):
    correction, made = make_correction(detector=Scripted(when), interval=interval), []
    correction.correct = lambda epoch, classes: made.append((epoch, classes))
    batch = (torch.zeros(1, K, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.long))

    def step(engine, _):
        engine.state.batch = {SUPERVISION: torch.tensor([Supervision.NOISY.code])}
        return dict(zip(("pred", "label"), batch, strict=True))

    engine = Engine(step)
    correction.attach(engine)
    engine.run([0], max_epochs=epochs)
    assert made == passes and correction.detector.detected == when


def average_by_hand(network, image):
    """Mean of the probabilities (K, *S) at two sizes, each as it is and with the first axis flipped."""
    mode, size = ("bilinear" if image.ndim == 3 else "trilinear"), [n * 3 // 2 for n in image.shape[1:]]
    views = []
    for axes in ([], [2]):
        x = image[None].flip(axes)
        large = network(nn.functional.interpolate(x, size, mode=mode))
        for logits in (network(x), nn.functional.interpolate(large, image.shape[1:], mode=mode)):
            views.append(logits.softmax(dim=1).flip(axes)[0])
    return torch.stack(views).mean(dim=0)


@torch.no_grad()
def probs_by_hand(correction, item, dims):
    image = correction.journal.cache.volume(item)[0].float()
    if dims == 3:
        return average_by_hand(correction.averaged, image)
    slices = image.unbind(dim=-1)
    return torch.stack([average_by_hand(correction.averaged, x) for x in slices], dim=-1)


@pytest.mark.parametrize("dims", [2, 3])
def test_probabilities_are_the_mean_of_all_views_in_evaluation_mode(dims):
    correction = make_correction(dims)
    assert not any(module.training for module in correction.averaged.modules())
    for item in (0, 1):
        found, wanted = correction.probs(item), probs_by_hand(correction, item, dims)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
        assert not found.requires_grad and found.shape[1:] == correction.journal.original(item).shape[1:]


@torch.no_grad()
def test_the_windows_of_a_volume_are_averaged_as_probabilities():
    correction = make_correction(3, make_network(3, certainty=5))
    correction.inferer = SlidingWindowInferer((8, 8, 8), overlap=0.5, mode="constant")
    image = correction.journal.cache.volume(0)[0].float()
    total, times = torch.zeros(K, 12, 12, 8), torch.zeros(12, 12, 8)
    for x, y in itertools.product((0, 4), repeat=2):
        part = slice(None), slice(x, x + 8), slice(y, y + 8)
        total[part] += average_by_hand(correction.averaged, image[part])
        times[part[1:]] += 1
    torch.testing.assert_close(correction.probs(0), total / times, rtol=1e-4, atol=1e-6)


def test_predictions_are_by_the_moving_average_of_weights_and_statistics():
    network, momentum = make_network(2), 0.3
    correction = make_correction(network=network, momentum=momentum)
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    x, engine = torch.randn(4, 1, 8, 8), Engine(lambda engine, batch: None)
    correction.ema.attach(engine)

    @engine.on(Events.ITERATION_STARTED)
    def learn():
        network(x)
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn(value.shape))

    @engine.on(Events.ITERATION_COMPLETED)
    def average_by_hand():
        for name, value in network.state_dict().items():
            moved = (1 - momentum) * averaged[name] + momentum * value
            averaged[name] = moved if value.is_floating_point() else value.clone()

    engine.run([0] * 5)
    torch.testing.assert_close(dict(correction.averaged.state_dict()), averaged)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_pass_leaves_both_networks_and_the_random_state_as_they_were(dims, training):
    network = make_network(dims, certainty=5).train(training)
    correction = make_correction(dims, network)
    networks = network, correction.averaged
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in networks]
    random = torch.get_rng_state()
    correction.correct(1, [1, 2])
    assert correction.journal.changes  # so something was done
    for part, values in zip(networks, before, strict=True):
        torch.testing.assert_close(dict(part.state_dict()), values, rtol=0, atol=0)
    assert all(module.training is training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_pass_gives_noisy_items_the_label_of_the_rule_and_says_how_much_changed(dims, caplog):
    caplog.set_level(logging.INFO)
    correction = make_correction(dims, make_network(dims, certainty=5))
    before, wanted = labels(correction), labels(correction)
    for item in (0, 2):
        wanted[item] = correction.rule(probs_by_hand(correction, item, dims), before[item], [1])
    correction.correct(4, [1])
    assert all(map(torch.equal, labels(correction), wanted))
    changed = sum(int((old != new).sum()) for old, new in zip(before, wanted, strict=True))
    share = changed / (before[0].numel() + before[2].numel())
    assert changed and f"epoch 4: corrected {changed} voxels, {share:.2%} of the noisy labels" in caplog.text


def test_detections_are_logged_but_for_the_last_epoch(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(tmp_path, epochs=4, detector=Scripted({1: 2, 2: 4}))
    assert "class 1: as scripted; correcting its labels after epoch 2" in caplog.text
    assert "class 2" not in caplog.text


def test_without_noisy_items_there_is_no_pass():
    correction = make_correction(detector=Scripted({1: 1}))
    correction.journal.items = []
    correction.correct = lambda epoch, classes: pytest.fail("a pass that nothing learns from")
    engine = Engine(lambda engine, _: None)
    engine.add_event_handler(Events.EPOCH_COMPLETED, correction.end_epoch)
    correction.counts = torch.ones(3, K - 1)
    engine.run([0], max_epochs=3)
    assert correction.detector.detected == {1: 1}


def test_labels_that_are_only_watched_stay_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    _, correction = train(tmp_path, epochs=4, detector=Scripted({1: 2}), enabled=False)
    assert "class 1: as scripted; memorization detected after epoch 2, labels are only watched" in caplog.text
    assert "correcting" not in caplog.text
    assert correction.detector.detected == {1: 2} and correction.journal.changes == []
    assert all(map(torch.equal, labels(correction), labels(make_correction())))


@pytest.mark.parametrize("dims", [2, 3])
def test_training_repairs_labels_that_lack_a_part_of_the_object(tmp_path, dims):
    _, correction = train(tmp_path, epochs=40, dims=dims, detector=Scripted({1: 30, 2: 30}))
    before, after = labels(make_correction(dims)), labels(correction)
    truth = [(item[IMAGE] / 2).round().clamp_min(0) for item in items(dims)]
    for item, improved in enumerate([True, False, True]):
        known = before[item] != UNLABELED
        wrong = [int((label != truth[item])[known].sum()) for label in (before[item], after[item])]
        assert wrong[1] < 0.8 * wrong[0] if improved else wrong[1] == wrong[0] > 0


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_resumed_training_ends_with_the_labels_curves_and_decisions_of_an_uninterrupted_one(tmp_path, stop):
    network, whole = train(tmp_path / "whole", interval=2)
    train(tmp_path / "parts", stop=stop, interval=2)
    resumed_network, resumed = train(tmp_path / "parts", resume=True, interval=2)
    assert len({c.epoch for c in whole.journal.changes}) > 1  # changes before and after some of the stops
    assert resumed.detector.summary() == whole.detector.summary()
    assert all(map(torch.equal, labels(resumed), labels(whole)))
    for here, there in zip(resumed.journal.changes, whole.journal.changes, strict=True):
        assert here[:2] == there[:2] and all(map(torch.equal, here[2:], there[2:]))
    for here, there in ((resumed_network, network), (resumed.averaged, whole.averaged)):
        torch.testing.assert_close(here.state_dict(), there.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("interval", [0, -3])
def test_an_interval_below_one_is_refused(interval):
    with pytest.raises(ValueError, match=f"Expected interval >= 1 epoch, got {interval}"):
        make_correction(interval=interval)


@pytest.mark.parametrize("momentum", [0, 1, -0.1, math.nan])
def test_a_momentum_that_is_not_between_0_and_1_is_refused(momentum):
    with pytest.raises(ValueError, match=f"Expected 0 < momentum < 1, got {momentum}"):
        make_correction(momentum=momentum)
