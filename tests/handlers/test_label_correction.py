"""When labels are corrected, what the log says of it, and that it repairs them."""

import logging
import math

import pytest
import torch
from ignite.engine import Engine, Events

from monai_ext.keys import IMAGE, SUPERVISION, UNLABELED, Supervision
from tests.handlers.noisy_training import K, Scripted, items, labels, make_correction, train


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


@pytest.mark.parametrize("interval", [0, -3])
def test_an_interval_below_one_is_refused(interval):
    with pytest.raises(ValueError, match=f"Expected interval >= 1 epoch, got {interval}"):
        make_correction(interval=interval)


@pytest.mark.parametrize("momentum", [0, 1, -0.1, math.nan])
def test_a_momentum_that_is_not_between_0_and_1_is_refused(momentum):
    with pytest.raises(ValueError, match=f"Expected 0 < momentum < 1, got {momentum}"):
        make_correction(momentum=momentum)
