"""What every training of this project has around its method."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardStatsHandler, ValidationHandler
from torch import nn
from torch.optim import Optimizer

from monai_ext.errors import InputError
from monai_ext.handlers.checkpoints import Checkpoints, log_once
from monai_ext.handlers.progress_bar import BarFromZero
from monai_ext.handlers.schedules import PolynomialDecay
from monai_ext.handlers.seeding import EpochSeed


class StandardTraining:
    """Validation, checkpoints, learning-rate decay, seeding, progress bar and TensorBoard in one.

    Attaches, in this order: MONAI's ``ValidationHandler``, ``EpochSeed``, ``PolynomialDecay``,
    ``Checkpoints`` (``models/``), ``BarFromZero`` and, when a training starts, MONAI's ``StatsHandler`` and
    ``TensorBoardStatsHandler``. What is particular to a method is another handler in the config's list.
    MONAI's ``MLFlowHandler``, which ``--tracking mlflow`` adds to that list, is made to read our output.
    Events, state: those of its parts.

    Args:
        network: what is trained.
        optimizer: its optimizer.
        evaluator: the validation engine; if its list of cases is empty, the last epoch's weights are kept.
        loader: the training loader, told which epoch it is.
        ckpt_dir: folder of ``model.pt`` and ``training/checkpoint.pt``.
        log_dir: folder of the TensorBoard files.
        val_interval: epochs between validations; the last epoch is always validated.
        key_metric: metric of the evaluator that selects ``model.pt``.
        loss: if it has ``terms``, a dictionary of tensors, these are drawn in TensorBoard as well.
        resume: whether to go on from ``checkpoint.pt``.
        seed: seed of the run.
        log_interval: iterations between the points of TensorBoard's curves; each waits for the device.
        stateful: further objects for the checkpoint, by name.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        evaluator: Any,
        loader: Any,
        ckpt_dir: str,
        log_dir: str,
        val_interval: int = 1,
        key_metric: str = "val_mean_dice",
        loss: Any = None,
        resume: bool = False,
        seed: int = 0,
        log_interval: int = 10,
        stateful: dict[str, Any] | None = None,
    ) -> None:
        if val_interval < 1:
            raise InputError(f"Expected val_interval >= 1, got {val_interval}.")
        self.evaluator = evaluator
        self.log_dir = log_dir
        self.val_interval = val_interval
        self.log_interval = log_interval
        self.loss = loss
        self.logged = False
        self.bar = BarFromZero("training", epochs=True)
        self.validates = len(evaluator.data_loader) > 0
        validated = evaluator if self.validates else None
        self.parts: list[Any] = [
            EpochSeed(seed, loader),
            PolynomialDecay(optimizer),
            Checkpoints(network, optimizer, validated, ckpt_dir, key_metric, resume, stateful),
        ]

    def attach(self, engine: Engine) -> None:
        """Register all parts with the trainer; those that log wait until it starts."""
        if self.validates:  # before the checkpoints, which keep what came of it
            ValidationHandler(interval=self.val_interval, validator=self.evaluator).attach(engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.validate_last_epoch)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.bar.close)  # before what raises it again
        for part in self.parts:
            part.attach(engine)
        engine.add_event_handler(Events.STARTED, self.unpack_tracked_loss)
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.STARTED, self.start)
            self.bar.attach(engine)

    def start(self, engine: Engine) -> None:
        """Let the first training that starts be logged, on screen and in TensorBoard."""
        if not self.validates:
            log_once("no validation cases: model.pt will hold the weights of the last epoch")
        if self.logged:
            return
        self.logged = True
        stats = StatsHandler(iteration_log=False, epoch_log=False, name="validation")
        stats.attach(self.evaluator)
        # Of an exception it logs the traceback, which whoever catches it decides on.
        self.evaluator.remove_event_handler(stats.exception_raised, Events.EXCEPTION_RAISED)
        TensorBoardStatsHandler(
            log_dir=self.log_dir,
            iteration_log=self.log_interval,
            epoch_log=False,
            output_transform=self.losses,
        ).attach(engine)
        TensorBoardStatsHandler(
            log_dir=self.log_dir,
            iteration_log=False,
            global_epoch_transform=lambda epoch: engine.state.epoch,
        ).attach(self.evaluator)

    def validate_last_epoch(self, engine: Engine) -> None:
        """Validate after the last epoch if the interval does not."""
        if engine.state.epoch == engine.state.max_epochs and engine.state.epoch % self.val_interval:
            self.evaluator.run(engine.state.epoch)

    def unpack_tracked_loss(self, engine: Engine) -> None:
        """Make MLflow handlers track the loss of an output that is not decollated.

        ``--tracking mlflow`` reads it with ``from_engine(["loss"], first=True)``: the loss itself of a
        decollated output, but a tuple of one, which MLflow refuses, of a dictionary of batch tensors.
        """
        for function, *_ in engine._event_handlers[Events.STARTED]:  # Ignite has no public list of them
            handler = getattr(function, "__self__", None)
            if isinstance(handler, MLFlowHandler):
                handler.output_transform = partial(only_value, handler.output_transform)

    def losses(self, output: dict[str, Any]) -> dict[str, float]:
        """The loss and its parts at this iteration."""
        parts = {"loss": output["loss"].detach(), **getattr(self.loss, "terms", {})}
        return {name: float(value) for name, value in parts.items()}


def only_value(transform: Callable[[Any], Any], output: Any) -> Any:
    """What ``transform`` makes of ``output``; of a tuple of one, its only value."""
    value = transform(output)
    return value[0] if isinstance(value, tuple) and len(value) == 1 else value
