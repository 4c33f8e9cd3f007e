"""What a training leaves on disk: the best weights, and all that is needed to go on after an interruption."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer

from monai_ext.bundle.run_lock import RunLock
from monai_ext.bundle.saved_files import first_sentence, keep_aside, read_saved, save_atomically, sha256
from monai_ext.errors import InputError

logger = logging.getLogger(__name__)

WEIGHTS, STATE = "model.pt", "checkpoint.pt"
WRITTEN = "weights_sha256"
"""Key of a checkpoint: digest of the ``model.pt`` that its training wrote."""


class Checkpoints:
    """Keep the best weights in ``model.pt`` and the state of the training in ``training/checkpoint.pt``.

    Both files are written beside their place and then moved there, so a run that is killed leaves the last
    complete ones. ``model.pt`` is a plain state dictionary, which MONAI's ``CheckpointLoader`` and
    ``ckpt_export`` read. Both files of an earlier training are kept under dated names, unless it is this one
    that goes on. While it trains, no other training can use the folder. An evaluator
    without a training writes nothing.

    Event: STARTED of the trainer (takes the folder, resumes); EPOCH_COMPLETED of the evaluator (best
    weights) and of the trainer (state); COMPLETED (frees the folder); EXCEPTION_RAISED (frees it, says how to
    go on). Reads: ``evaluator.state.metrics[key_metric]``. Writes: on a resume ``epoch`` and ``iteration`` of
    the trainer's state. State: the checkpoint holds network, optimizer, epoch, iteration, the best metric so
    far, the digest of the weights and whatever ``stateful`` names. Only the first process writes files and
    the log.

    Args:
        network: what is trained.
        optimizer: its optimizer.
        evaluator: the validation engine; None where nothing is validated: ``model.pt`` then holds the latest
            epoch.
        folder: where the files go.
        key_metric: the metric of the evaluator by which weights are the best, higher being better.
        resume: whether to go on from the checkpoint.
        stateful: further objects with ``state_dict`` and ``load_state_dict``, by name.

    Raises:
        InputError: when a training starts, if another has the folder or, on a resume, if there is no
            checkpoint, or it is damaged, or another network or optimizer wrote it; when a file cannot be
            written.
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
        self.state_file = self.folder / "training" / STATE
        self.key_metric = key_metric
        self.resume = resume
        self.best = float("-inf")
        self.written = ""
        self.began = False
        self.lock = RunLock(self.folder)
        self.explained: BaseException | None = None

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; with the evaluator when a training starts."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_state)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.explain)
        if self.evaluator is None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save_weights)

    def start(self, engine: Engine) -> None:
        """Take the folder, and go on from the last checkpoint if that is wanted."""
        if idist.get_rank() == 0:
            self.lock.acquire()
            if self.resume:
                self.written = self.digest_in_checkpoint()
        if self.evaluator is not None and not self.evaluator.has_event_handler(self.save_best):
            self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_best)
        if self.resume:
            self.go_on(engine)

    def finish(self, engine: Engine) -> None:
        """Free the folder, and say where the weights are."""
        self.lock.release()
        found = f", the best with {self.key_metric} {self.best:.4f}" if math.isfinite(self.best) else ""
        log_once(f"trained {engine.state.epoch} epochs; weights are in {self.folder / WEIGHTS}{found}")

    def go_on(self, engine: Engine) -> None:
        """Take over the state of the last checkpoint."""
        path = self.last_checkpoint().absolute()
        if not path.exists():
            raise InputError(f"Expected {path} to resume from, found none; start anew without resume.")
        saved = read_saved(path, "a whole checkpoint", "restore it, or start anew without resume")
        try:
            self.load(saved)
        except InputError:
            raise
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"Expected {path} to be of this network and optimizer, got: {first_sentence(error)}; "
                "resume with the configuration that wrote it, or start anew without resume."
            ) from error
        self.best = saved["best"]
        weights = self.folder / WEIGHTS
        if WRITTEN not in saved and weights.is_file():  # by an older version, which did not say
            self.written = sha256(weights)
        self.began = True
        engine.state.epoch, engine.state.iteration = saved["epoch"], saved["iteration"]
        best = f"best {self.key_metric} {self.best:.4f}" if math.isfinite(self.best) else "not validated yet"
        log_once(f"resumed from {path} after epoch {saved['epoch']}, {best}")
        if saved["epoch"] >= (last := engine.state.max_epochs or math.inf):
            log_once(
                f"nothing is left to train: max_epochs is {last}; pass --train::trainer::max_epochs to go on"
            )

    def last_checkpoint(self) -> Path:
        """The checkpoint, or that of an older version, which lay beside the weights."""
        older = self.folder / STATE
        return older if older.exists() and not self.state_file.exists() else self.state_file

    def keep_state(self) -> None:
        """Keep the checkpoint of an earlier training under a dated name, in ``training`` where it is not."""
        path = self.last_checkpoint()
        if path.is_file():
            if path != self.state_file:
                self.state_file.parent.mkdir(parents=True, exist_ok=True)
                path.replace(self.state_file)
            logger.info(f"{path} is of an earlier training; kept as {keep_aside(self.state_file)}")

    def digest_in_checkpoint(self) -> str:
        """Digest of the weights that the training to go on with wrote last; empty if it wrote none."""
        try:
            return str(read_saved(self.last_checkpoint(), "", "").get(WRITTEN, ""))
        except (OSError, InputError):  # a damaged one matters to a resume alone, which says so
            return ""

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
        """Write the checkpoint, which takes the place of an older version's."""
        state = {name: thing.state_dict() for name, thing in self.objects.items()}
        state |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration, "best": self.best}
        if idist.get_rank() == 0:
            if not self.began:
                self.keep_state()
            self.began = True
            save_atomically(state | {WRITTEN: self.written}, self.state_file)
            (self.folder / STATE).unlink(missing_ok=True)

    def save_best(self, engine: Engine) -> None:
        """Write ``model.pt`` if the validation was better than any before."""
        metric = engine.state.metrics[self.key_metric]
        if metric > self.best:
            self.best = float(metric)
            self.save_weights(engine)
            log_once(f"{self.key_metric} {metric:.4f} is the best so far; saved {self.folder / WEIGHTS}")
        else:
            log_once(f"{self.key_metric} {metric:.4f}, best so far {self.best:.4f}")

    def save_weights(self, engine: Engine) -> None:
        """Write ``model.pt``; one that this training has not written is kept aside."""
        if idist.get_rank() != 0:
            return
        path = self.folder / WEIGHTS
        if path.is_file() and sha256(path) != self.written:
            logger.info(f"{path} was there before this training; kept as {keep_aside(path)}")
        save_atomically(self.network.state_dict(), path)
        self.written = sha256(path)

    def explain(self, engine: Engine, error: BaseException) -> None:
        """Free the folder and say how to go on; the error is passed on."""
        self.lock.release()
        epoch = engine.state.epoch
        kept = f"{self.state_file.absolute()} holds the training until epoch {epoch - 1}"
        if isinstance(error, KeyboardInterrupt):
            if epoch > 1:
                error.args = (f"Interrupted in epoch {epoch}; {kept}: go on with --resume true.",)
            else:
                error.args = ("Interrupted before the end of the first epoch; nothing was kept.",)
        elif epoch > 1 and error is not self.explained:  # Ignite passes by here once a loop
            log_once(f"stopped in epoch {epoch}; {kept}: go on with --resume true")
        self.explained = error
        raise error


def log_once(message: str) -> None:
    """Log on the first process only."""
    if idist.get_rank() == 0:
        logger.info(message)
