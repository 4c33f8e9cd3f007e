"""What a training leaves on disk: the best weights, and all that is needed to go on after an interruption."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from monai_ext.bundle.saved_files import first_sentence, read_saved

logger = logging.getLogger(__name__)


class Checkpoints:
    """Keep the best weights in ``model.pt`` and the state of the training in ``checkpoint.pt``.

    Both files are written beside their place and then moved there, so a run that is killed leaves the last
    complete ones. ``model.pt`` is a plain state dictionary, which MONAI's ``CheckpointLoader`` and
    ``ckpt_export`` read.

    Event: EPOCH_COMPLETED of the evaluator (best weights) and of the trainer (state); STARTED of the trainer
    (resume); EXCEPTION_RAISED (says how to go on). Reads: ``evaluator.state.metrics[key_metric]``. Writes:
    on a resume ``epoch`` and ``iteration`` of the trainer's state. State: ``checkpoint.pt`` holds network,
    optimizer, epoch, iteration, the best metric so far and whatever ``stateful`` names. Only the first
    process writes files and the log.

    Args:
        network: what is trained.
        optimizer: its optimizer.
        evaluator: the validation engine; None where nothing is validated: ``model.pt`` then holds the latest
            epoch.
        folder: where the files go.
        key_metric: the metric of the evaluator by which weights are the best, higher being better.
        resume: whether to go on from ``checkpoint.pt``.
        stateful: further objects with ``state_dict`` and ``load_state_dict``, by name.

    Raises:
        SystemExit: on a resume, if there is no checkpoint, or it is damaged, or another network or optimizer
            wrote it.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        evaluator: Engine | None,
        folder: str,
        key_metric: str,
        resume: bool = False,
        stateful: Mapping[str, Any] | None = None,
    ) -> None:
        bare = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        self.network: nn.Module = bare
        self.objects: dict[str, Any] = {"network": bare, "optimizer": optimizer, **(stateful or {})}
        self.evaluator = evaluator
        self.folder = Path(folder)
        self.key_metric = key_metric
        self.resume = resume
        self.best = float("-inf")
        self.explained: BaseException | None = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer and the evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_state)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.explain)
        if self.evaluator is None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_weights)
        else:
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)

    def start(self, engine: Engine) -> None:
        """Go on from the last checkpoint if that is wanted."""
        if not self.resume:
            return
        path = (self.folder / "checkpoint.pt").absolute()
        if not path.exists():
            sys.exit(f"Expected {path} to resume from, found none; start anew without resume.")
        saved = read_saved(path, "a whole checkpoint", "restore it, or start anew without resume")
        try:
            self.load(saved)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            sys.exit(
                f"Expected {path} to be of this network and optimizer, got: {first_sentence(error)}; "
                "resume with the configuration that wrote it, or start anew without resume."
            )
        self.best = saved["best"]
        engine.state.epoch, engine.state.iteration = saved["epoch"], saved["iteration"]
        log_once(f"resumed from {path} after epoch {saved['epoch']}, best {self.key_metric} {self.best:.4f}")

    def load(self, saved: Mapping[str, Any]) -> None:
        """Give every object its state; ValueError if something is missing."""
        if missing := {*self.objects, "epoch", "iteration", "best"} - set(saved):
            raise ValueError(f"no {', '.join(sorted(missing))}")
        for name, thing in self.objects.items():
            thing.load_state_dict(saved[name])
        for group in self.objects["optimizer"].param_groups:  # which torch takes from any optimizer
            if missing := set(self.objects["optimizer"].defaults) - set(group):
                raise ValueError(f"no {', '.join(sorted(missing))} of the optimizer")

    def save_state(self, engine: Engine) -> None:
        """Write ``checkpoint.pt``."""
        state = {name: thing.state_dict() for name, thing in self.objects.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "best": self.best}
        save_atomically(state, self.folder / "checkpoint.pt")

    def save_best(self, engine: Engine) -> None:
        """Write ``model.pt`` if the validation was better than any before."""
        metric = engine.state.metrics[self.key_metric]
        if metric > self.best:
            log_once(f"{self.key_metric} {metric:.4f} is the best so far; saved {self.folder / 'model.pt'}")
            self.best = float(metric)
            self.save_weights(engine)
        else:
            log_once(f"{self.key_metric} {metric:.4f}, best so far {self.best:.4f}")

    def save_weights(self, engine: Engine) -> None:
        """Write ``model.pt``."""
        save_atomically(self.network.state_dict(), self.folder / "model.pt")

    def explain(self, engine: Engine, error: BaseException) -> None:
        """Say how to go on, and end quietly if a person interrupted the run."""
        if engine.state.epoch > 1 and error is not self.explained:  # Ignite passes by here once a loop
            log_once(f"stopped in epoch {engine.state.epoch}; go on with --resume true")
        self.explained = error
        if isinstance(error, KeyboardInterrupt):
            raise SystemExit(130) from error
        raise error


def log_once(message: str) -> None:
    """Log on the first process only."""
    if idist.get_rank() == 0:
        logger.info(message)


def save_atomically(content: Any, path: Path) -> None:
    """Write ``content`` to ``path`` on the first process only; the old file stays until the new is whole."""
    if idist.get_rank() != 0:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    torch.save(content, unfinished)
    os.replace(unfinished, path)
