import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events

from monai_ext.handlers.seeding import EpochSeed


def draws(seed, epochs=4, first=1, loader=None):
    """One random number of each library in every iteration, by epoch; epochs before ``first`` are not run."""
    found: dict[int, list[tuple[float, ...]]] = {}

    def step(engine, batch):
        numbers = (torch.rand(1).item(), float(np.random.rand()), random.random())
        found.setdefault(engine.state.epoch, []).append(numbers)

    engine = Engine(step)
    EpochSeed(seed, loader).attach(engine)
    engine.add_event_handler(Events.STARTED, lambda: setattr(engine.state, "epoch", first - 1))
    engine.run([0, 0], max_epochs=epochs)
    return found


def test_a_resumed_training_draws_what_the_uninterrupted_one_drew():
    whole, resumed = draws(seed=3), draws(seed=3, first=3)
    assert resumed == {epoch: whole[epoch] for epoch in (3, 4)}


@pytest.mark.parametrize("library", range(3), ids=["torch", "numpy", "python"])
def test_epochs_iterations_and_seeds_draw_different_numbers(library):
    numbers = [n[library] for seed in (0, 1) for epoch in draws(seed).values() for n in epoch]
    assert len(set(numbers)) == len(numbers) == 16


def test_the_loader_knows_the_epoch_before_its_first_batch():
    loader, seen = SimpleNamespace(epoch=None), []
    engine = Engine(lambda engine, batch: seen.append(loader.epoch))
    EpochSeed(0, loader).attach(engine)
    engine.run([0, 0], max_epochs=2)
    assert seen == [1, 1, 2, 2]


def test_large_seeds_are_legal():
    assert len(draws(seed=2**40, epochs=1)) == 1
