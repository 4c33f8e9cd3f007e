"""Correct doubtful labels during a training, class by class, when their memorization begins."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.utils import CommonKeys as Keys
from torch import Tensor, nn

from monai_ext.handlers.memorization import MemorizationDetector
from monai_ext.keys import SUPERVISION, UNLABELED, Supervision

logger = logging.getLogger(__name__)


class LabelCorrection:
    r"""Watch the training IoU of every class and, from its detection on, correct the labels now and then.

    .. math:: \mathrm{IoU}_k = \frac{TP_k}{P_k + T_k - TP_k}

    with :math:`P_k` the voxels predicted as class k, :math:`T_k` those labeled so and :math:`TP_k` those that
    are both, summed over the noisy items of an epoch as they were trained on: predictions of ``rule`` (on the
    mean logits, if there are several scales) against the current labels, 255 left out. A pass over the noisy
    items in evaluation mode then gives probabilities to ``rule``; its result replaces the labels,
    cumulatively. Passes come when a class is detected and every ``interval`` epochs after the first
    detection. There is none that no later step could learn from: none after the last epoch, none without
    noisy items. A training that is interrupted corrects all the same, so that with one process a resume
    equals one that ran through. Several processes share a pass; all predict by the statistics of batch
    normalization of the first.

    Event: ITERATION_COMPLETED (counts), EPOCH_STARTED (new counts), EPOCH_COMPLETED (decides, corrects).
    Reads: ``engine.state.output["pred"]`` (B, K, \*S) or (B, S, K, \*S) and ``["label"]`` (B, 1, \*S),
    ``engine.state.batch["supervision"]``, ``max_epochs``. Writes: the labels of the journal's cache. State:
    that of ``detector`` and ``journal``, and the averaged weights; name it in ``stateful`` of the
    checkpoints, which the config lists after this handler, so that they keep what it did in the epoch.

    Args:
        journal: the labels, see ``monai_ext.data.LabelJournal``.
        network: what is trained.
        detector: decides when the correction of a class begins.
        rule: called with probabilities (K, \*S), label (1, \*S) and the classes under correction, returns the
            corrected label; its ``predict`` gives the class of every voxel. See
            ``monai_ext.transforms.CorrectLabels``.
        inferer: gives the network a whole volume (1, M, \*S), as in validation.
        averaging: gives the network each part of it, see ``monai_ext.inferers.AveragingInferer``.
        interval: epochs between two passes.
        momentum: share of the latest weights in the moving average, at each iteration.
        enabled: whether labels are corrected; else they are only watched.

    Raises:
        ValueError: if ``interval`` is below 1, or ``momentum`` is not between 0 and 1.

    Differs from the source: the pass is in evaluation mode, after the epoch, and averages scales, as the
    paper says and its code does not. The moving average of the weights is ours: in the middle of a training,
    while the learning rate is high, single weights predict worse.

    References:
        Liu et al., *Adaptive early-learning correction for segmentation from noisy annotations*, CVPR 2022,
        arXiv 2110.03740.
    """

    def __init__(
        self,
        journal: Any,
        network: nn.Module,
        detector: MemorizationDetector,
        rule: Any,
        inferer: Callable[..., Tensor],
        averaging: Callable[..., Tensor],
        interval: int = 10,
        momentum: float = 0.01,
        enabled: bool = True,
    ) -> None:
        if interval < 1:
            raise ValueError(f"Expected interval >= 1 epoch, got {interval}.")
        if not 0 < momentum < 1:
            raise ValueError(f"Expected 0 < momentum < 1, got {momentum}.")
        self.journal = journal
        bare = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        self.ema = EMAHandler(bare, momentum=momentum, handle_buffers="update")
        self.averaged: nn.Module = self.ema.ema_model.eval()
        self.detector = detector
        self.rule = rule
        self.inferer = inferer
        self.averaging = averaging
        self.interval = interval
        self.enabled = enabled
        self.counts = torch.zeros(0)

    def attach(self, engine: Engine) -> None:
        """Register with the trainer."""
        self.ema.attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.count)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.end_epoch)

    def start_epoch(self, engine: Engine) -> None:
        """Forget the counts of the last epoch."""
        self.counts = torch.zeros(0)

    def count(self, engine: Engine) -> None:
        """Add hits, predictions and labels of the batch, (3, K - 1)."""
        output: Any = engine.state.output
        logits, label = output[Keys.PRED].detach(), output[Keys.LABEL]
        if logits.ndim > label.ndim:
            logits = logits.mean(dim=1)
        pred = self.rule.predict(logits.softmax(dim=1), dim=1)
        batch: Any = engine.state.batch
        noisy = batch[SUPERVISION].to(label.device) == Supervision.NOISY.code
        known = (label != UNLABELED) & noisy.view(-1, *[1] * (label.ndim - 1))
        rows = []
        for k in range(1, logits.shape[1]):
            found, true = (pred == k) & known, (label == k) & known
            rows.append(torch.stack([(found & true).sum(), found.sum(), true.sum()]))
        counts = torch.stack(rows, dim=1)
        self.counts = counts + self.counts if len(self.counts) else counts

    def end_epoch(self, engine: Engine) -> None:
        """Decide for every class, and correct if it is time."""
        hits, found, true = torch.as_tensor(idist.all_reduce(self.counts)).cpu().double()
        iou = (hits / (found + true - hits).clamp_min(1)).tolist()
        epoch, detector = engine.state.epoch, self.detector
        new = detector.update(iou, engine.state.max_epochs or math.inf)
        if not detector.detected or not self.journal.items or epoch == engine.state.max_epochs:
            return
        if idist.get_rank() == 0:
            what = "correcting its labels" if self.enabled else "memorization detected"
            rest = "" if self.enabled else ", labels are only watched"
            for k in new:
                logger.info(f"class {k}: {detector.reasons[k]}; {what} after epoch {epoch}{rest}")
        if self.enabled and (new or (epoch - min(detector.detected.values())) % self.interval == 0):
            self.correct(epoch, sorted(detector.detected))

    def correct(self, epoch: int, classes: Sequence[int]) -> None:
        """Run the network over the noisy items, shared among the processes, and replace their labels."""
        ranks, rank = idist.get_world_size(), idist.get_rank()
        if ranks > 1:
            for values in self.averaged.buffers():
                torch.distributed.broadcast(values, src=0)
        mine = {
            item: self.rule(self.probs(item), self.journal.cache.volume(item)[1], classes).cpu()
            for item in self.journal.items[rank::ranks]
        }
        parts = [mine]
        if ranks > 1:
            parts = [{} for _ in range(ranks)]
            torch.distributed.all_gather_object(parts, mine)
        labels = {item: label for part in parts for item, label in part.items()}
        changed = sum(self.journal.replace(item, labels[item], epoch) for item in self.journal.items)
        if rank == 0:
            share = changed / max(1, sum(label.numel() for label in labels.values()))
            logger.info(f"epoch {epoch}: corrected {changed} voxels, {share:.2%} of the noisy labels")

    @torch.no_grad()
    def probs(self, item: int) -> Tensor:
        """Probabilities (K, *S) of an item, by the averaged weights, on the device of its label."""
        image, label = self.journal.cache.volume(item)
        image = image[None].to(next(self.averaged.parameters()).device).float()
        probs = self.inferer(image, lambda part: self.averaging(part, self.averaged).softmax(dim=1))
        return probs[0].to(label.device)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        parts = {"journal": self.journal, "detector": self.detector, "averaged": self.averaged}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.journal.load_state_dict(state["journal"])
        self.detector.load_state_dict(state["detector"])
        self.averaged.load_state_dict(state["averaged"])
