import math
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events

from monai_ext.handlers.schedules import PolynomialDecay, RampUp, sigmoid_rampup

EPOCHS, BATCHES = 4, 5


def record(make, epochs=EPOCHS, done_epochs=0):
    """What a handler sets before every iteration of a training, or of the rest of it after some epochs."""
    engine, seen = Engine(lambda engine, batch: None), []
    value = make(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(value()))

    @engine.on(Events.STARTED)
    def resume():
        engine.state.epoch, engine.state.iteration = done_epochs, done_epochs * BATCHES

    engine.run([0] * BATCHES, max_epochs=epochs)
    return seen


def ramp(fraction):
    def make(engine):
        loss = SimpleNamespace(ramp=None)
        RampUp(loss, fraction).attach(engine)
        return lambda: loss.ramp

    return make


def decay(power, rates=(0.1,)):
    def make(engine):
        groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
        optimizer = torch.optim.SGD(groups)
        PolynomialDecay(optimizer, power).attach(engine)
        return lambda: [group["lr"] for group in optimizer.param_groups]

    return make


@pytest.mark.parametrize(("t", "t_in_range"), [(-1, 0), (0, 0), (0.25, 0.25), (0.9, 0.9), (1, 1), (7, 1)])
def test_rampup_equals_its_formula_and_clips_its_argument(t, t_in_range):
    assert sigmoid_rampup(t) == pytest.approx(math.exp(-5 * (1 - t_in_range) ** 2))


@pytest.mark.parametrize("fraction", [0.1, 0.3, 1.0])
def test_the_ramp_rises_over_its_share_of_the_iterations(fraction):
    length = fraction * EPOCHS * BATCHES
    wanted = [math.exp(-5 * max(0.0, 1 - i / length) ** 2) for i in range(EPOCHS * BATCHES)]
    assert record(ramp(fraction)) == pytest.approx(wanted)


def test_a_ramp_without_length_is_over_from_the_start():
    assert record(ramp(0)) == [1.0] * (EPOCHS * BATCHES)


@pytest.mark.parametrize("power", [0, 0.9, 2])
def test_learning_rates_decay_by_the_formula_each_from_its_own_start(power):
    wanted = [
        [rate * (1 - i / (EPOCHS * BATCHES)) ** power for rate in (0.1, 3.0)] for i in range(EPOCHS * BATCHES)
    ]
    assert record(decay(power, (0.1, 3.0))) == [pytest.approx(rates) for rates in wanted]


@pytest.mark.parametrize("make", [ramp(0.7), decay(0.9)], ids=["ramp", "decay"])
def test_a_resumed_training_sees_the_same_values(make):
    assert record(make, done_epochs=2) == record(make)[2 * BATCHES :]


def test_a_resumed_optimizer_decays_from_its_first_rate_and_not_from_the_decayed_one():
    start, whole, resumed = (torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1) for _ in range(3))
    state = SimpleNamespace(iteration=11, max_epochs=EPOCHS, epoch_length=BATCHES)
    PolynomialDecay(start)(SimpleNamespace(state=state))
    resumed.load_state_dict(start.state_dict())
    state.iteration = 12
    for optimizer in (whole, resumed):
        PolynomialDecay(optimizer)(SimpleNamespace(state=state))
    assert resumed.param_groups[0]["lr"] == whole.param_groups[0]["lr"] < 0.1


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_says_which_fractions_are_possible(fraction):
    with pytest.raises(ValueError, match=f"Expected 0 <= fraction <= 1, got {fraction}"):
        RampUp(SimpleNamespace(), fraction)


def test_a_negative_power_is_refused():
    with pytest.raises(ValueError, match="Expected power >= 0, got -1"):
        PolynomialDecay(torch.optim.SGD([torch.zeros(1)]), -1)
