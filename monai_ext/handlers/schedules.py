"""Numbers that change during training; each follows from the iteration alone, so a resume needs no state."""

import math
from typing import Any

from ignite.engine import Engine, Events
from torch.optim import Optimizer


def sigmoid_rampup(progress: float) -> float:
    r"""Rise smoothly from almost 0 to 1.

    .. math:: w(t) = \exp\big(-5 (1 - t)^2\big), \quad t \in [0, 1]

    Args:
        progress: t, clipped to [0, 1].

    References:
        Laine, Aila, *Temporal ensembling for semi-supervised learning*, ICLR 2017, arXiv 1610.02242.

    Example:
        >>> round(sigmoid_rampup(0), 4), sigmoid_rampup(1)
        (0.0067, 1.0)
    """
    return math.exp(-5 * (1 - min(max(progress, 0.0), 1.0)) ** 2)


def iterations_in_training(engine: Engine) -> int:
    """Iterations of the whole training, from the engine's own numbers of epochs and batches."""
    return (engine.state.max_epochs or 1) * (engine.state.epoch_length or 1)


class RampUp:
    r"""Set ``loss.ramp`` to :math:`w((i - 1) / I)` before iteration i, for a ramp of I iterations.

    Event: ITERATION_STARTED. Reads: ``engine.state.iteration``, ``max_epochs``, ``epoch_length``. Writes:
    ``loss.ramp``. State: none.

    Args:
        loss: has a float attribute ``ramp``.
        fraction: I as a share of the whole training, in [0, 1]; w is ``sigmoid_rampup``.

    Raises:
        ValueError: if ``fraction`` is outside [0, 1].
    """

    def __init__(self, loss: Any, fraction: float = 0.3) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"Expected 0 <= fraction <= 1, got {fraction}.")
        self.loss = loss
        self.fraction = fraction

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the ramp for the iteration that starts."""
        length = self.fraction * iterations_in_training(engine)
        self.loss.ramp = sigmoid_rampup((engine.state.iteration - 1) / length) if length else 1.0


class PolynomialDecay:
    r"""Set the learning rate to :math:`\eta_0 (1 - (i - 1) / I)^{p}` before iteration i of I.

    Event: ITERATION_STARTED. Reads: ``engine.state.iteration``, ``max_epochs``, ``epoch_length``. Writes:
    ``lr`` of the optimizer's parameter groups, and once ``initial_lr``, which is :math:`\eta_0`. State:
    none beside the optimizer's.

    Args:
        optimizer: whose learning rates decay.
        power: p >= 0.

    Raises:
        ValueError: if ``power`` is negative.
    """

    def __init__(self, optimizer: Optimizer, power: float = 0.9) -> None:
        if power < 0:
            raise ValueError(f"Expected power >= 0, got {power}.")
        self.optimizer = optimizer
        self.power = power

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the learning rate of the iteration that starts."""
        left = max(0.0, 1 - (engine.state.iteration - 1) / iterations_in_training(engine))
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * left**self.power
