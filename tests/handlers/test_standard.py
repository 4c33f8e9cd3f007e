import logging
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import MLFlowHandler, from_engine
from torch import nn

from monai_ext.handlers.standard import StandardTraining

STANDARD = ["EpochSeed", "PolynomialDecay", "Checkpoints"]


class Loader(list):
    """Two batches, and which epoch it was told that it is."""

    epoch = None


class Squares(nn.Module):
    """A loss with terms to draw."""

    def forward(self, pred, target):
        loss = (pred - target).square().mean()
        self.terms = {"strong_ce": loss.detach(), "entropy": torch.tensor(2.0)}
        return loss


def set_up(folder, epochs=3, val_cases=None, **options):
    """Trainer, evaluator and handler; ``evaluator.validated`` holds the epochs that were validated."""
    network, loss = nn.Linear(1, 1), Squares()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loader = Loader([{"image": torch.ones(2, 1), "label": torch.zeros(2, 1)}] * 2)
    evaluator = SupervisedEvaluator(torch.device("cpu"), loader if val_cases is None else val_cases, network)
    evaluator.validated = []

    @evaluator.on(Events.EPOCH_COMPLETED)
    def score(engine):
        engine.validated.append(engine.state.epoch)
        engine.state.metrics["val_mean_dice"] = 0.5

    handler = StandardTraining(
        network,
        optimizer,
        evaluator,
        loader,
        str(folder / "models"),
        str(folder / "log"),
        loss=loss,
        **options,
    )
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loader,
        network,
        optimizer,
        loss,
        train_handlers=[handler],
        decollate=False,
    )
    return trainer, evaluator, handler


@pytest.mark.parametrize(
    ("epochs", "interval", "validated"),
    [(3, 1, [1, 2, 3]), (4, 2, [2, 4]), (5, 2, [2, 4, 5]), (2, 5, [2]), (1, 1, [1])],
)
def test_the_last_epoch_is_validated_once_whatever_the_interval(tmp_path, epochs, interval, validated):
    trainer, evaluator, _ = set_up(tmp_path, epochs, val_interval=interval)
    trainer.run()
    assert evaluator.validated == validated


def test_both_files_are_left_behind_and_the_state_knows_the_last_validation(tmp_path):
    trainer, *_ = set_up(tmp_path, epochs=3, val_interval=2)
    trainer.run()
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["model.pt", "training"]
    saved = torch.load(tmp_path / "models" / "training" / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["iteration"], saved["best"]) == (3, 6, 0.5)


def test_without_validation_cases_the_last_weights_are_kept(tmp_path):
    trainer, evaluator, _ = set_up(tmp_path, epochs=2, val_cases=[])
    trainer.run()
    assert evaluator.validated == []
    saved = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    torch.testing.assert_close(saved, trainer.network.state_dict())


def test_all_parts_are_attached(tmp_path):
    trainer, _, handler = set_up(tmp_path, epochs=2, seed=7)
    epoch_seed, *_ = handler.parts
    assert [type(part).__name__ for part in handler.parts] == STANDARD
    trainer.run()
    assert (epoch_seed.seed, epoch_seed.loader.epoch) == (7, 2)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (1 / 4) ** 0.9)


def scalars(folder):
    """Names and values that TensorBoard would draw."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for file in folder.iterdir():
        events = EventAccumulator(str(file)).Reload()
        found |= {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return found


def test_tensorboard_gets_the_terms_by_iteration_and_the_metric_by_epoch(tmp_path):
    set_up(tmp_path, epochs=4, val_interval=2, log_interval=2)[0].run()
    drawn = scalars(tmp_path / "log")
    assert drawn.pop("val_mean_dice") == [2, 4]
    assert set(drawn) == {"loss", "strong_ce", "entropy"}
    assert all(steps == [2, 4, 6, 8] for steps in drawn.values())


class Tracker(MLFlowHandler):
    """MONAI's handler with a list in the place of MLflow, which takes only numbers."""

    def __init__(self, output_transform):
        self.output_transform, self.tag_name, self.tracked = output_transform, "train_loss", []
        self.iteration_log, self.epoch_log, self.close_on_complete = True, False, False
        self.iteration_logger, self.optimizer_param_names = None, ()

    def start(self, engine):
        pass

    def complete(self):
        pass

    def _log_metrics(self, metrics, step):
        self.tracked.extend(float(value) for value in metrics.values())


def test_mlflow_handlers_that_expect_a_decollated_output_get_the_loss(tmp_path):
    """The transform is the one of `--tracking mlflow`."""
    trainer, *_ = set_up(tmp_path, epochs=1)
    tracker, losses = Tracker(from_engine(["loss"], first=True)), []
    tracker.attach(trainer)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output["loss"].item())
    )
    trainer.run()
    assert tracker.tracked == losses and len(losses) == 2


def test_mlflow_handlers_with_a_transform_of_their_own_keep_it(tmp_path):
    trainer, *_ = set_up(tmp_path, epochs=1)
    tracker = Tracker(lambda output: {"examples": len(output["pred"])})
    tracker.attach(trainer)
    trainer.run()
    assert tracker.tracked == [2, 2]


def test_other_processes_than_the_first_train_but_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    trainer, evaluator, _ = set_up(tmp_path, epochs=1)
    trainer.run()
    assert trainer.state.iteration == 2 and evaluator.validated == [1]
    assert list(tmp_path.iterdir()) == []


def test_resume_goes_on_after_the_last_epoch(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    set_up(tmp_path, epochs=2)[0].run()
    trainer, evaluator, _ = set_up(tmp_path, epochs=3, resume=True)
    trainer.run()
    assert evaluator.validated == [3]
    assert "after epoch 2, best val_mean_dice 0.5000" in caplog.text


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_one_is_refused(tmp_path, interval):
    engine = Engine(lambda engine, batch: None)
    optimizer = SimpleNamespace(param_groups=[])
    with pytest.raises(ValueError, match=f"Expected val_interval >= 1, got {interval}"):
        StandardTraining(nn.Linear(1, 1), optimizer, engine, None, "", "", val_interval=interval)
