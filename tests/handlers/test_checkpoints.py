import logging
import re

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from monai_ext.errors import InputError
from monai_ext.handlers import checkpoints
from monai_ext.handlers.checkpoints import Checkpoints
from tests.exit_messages import message_of


class Training:
    """A network that learns for some epochs of three batches, validated with given metrics after each."""

    def __init__(self, folder, metrics=(), network=None, optimizer=torch.optim.Adam, **options):
        torch.manual_seed(0)
        self.network = network or nn.Linear(3, 1)
        self.optimizer = optimizer(self.network.parameters(), lr=0.1)
        self.evaluator = Engine(lambda engine, batch: None)
        self.trainer = Engine(self.step)
        self.metrics = list(metrics)
        self.evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.score)
        if metrics:
            self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.evaluator.run([0]))
        self.checkpoints = Checkpoints(
            self.network, self.optimizer, self.evaluator, str(folder), "dice", **options
        )
        self.checkpoints.attach(self.trainer)
        self.epochs, self.interrupt = [], None

    def step(self, engine, batch):
        self.epochs.append(engine.state.epoch)
        if self.interrupt and engine.state.epoch == self.interrupt[0]:
            raise self.interrupt[1]
        self.optimizer.zero_grad()
        self.network(torch.tensor([1.0, 2.0, batch])).sum().square().backward()
        self.optimizer.step()

    def score(self, engine):
        engine.state.metrics["dice"] = self.metrics.pop(0)

    def run(self, epochs=1):
        self.trainer.run([0.0, 1.0, 2.0], max_epochs=epochs)
        return self

    def weights(self):
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def load(path):
    return torch.load(path, weights_only=True)


def assert_equal(found, wanted):
    torch.testing.assert_close(dict(found), dict(wanted), rtol=0, atol=0)


def test_weights_are_kept_only_when_the_validation_is_better(tmp_path):
    training, kept = Training(tmp_path, metrics=[0.3, 0.5, 0.5, 0.4, 0.6]), []
    training.trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: kept.append(load(tmp_path / "model.pt"))
    )
    now = []
    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: now.append(training.weights()))
    training.run(epochs=5)
    for epoch, best in enumerate([0, 1, 1, 1, 4]):
        assert_equal(kept[epoch], now[best])


def test_weights_that_find_nothing_yet_are_kept_until_better_ones_come(tmp_path):
    training = Training(tmp_path, metrics=[0.0, 0.0]).run(epochs=1)
    first = training.weights()
    assert_equal(load(tmp_path / "model.pt"), first)
    training.run(epochs=2)
    assert_equal(load(tmp_path / "model.pt"), first)


def test_a_validation_that_is_not_a_number_is_never_the_best(tmp_path):
    training = Training(tmp_path, metrics=[float("nan"), 0.2]).run(epochs=2)
    assert training.checkpoints.best == 0.2


def test_other_processes_than_the_first_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints.idist, "get_rank", lambda: 1)
    Training(tmp_path, metrics=[0.5]).run()
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = Training(tmp_path / "whole").run(epochs=4)
    Training(tmp_path / "parts").run(epochs=2)
    rest = Training(tmp_path / "parts", resume=True).run(epochs=4)
    assert rest.epochs == [3, 3, 3, 4, 4, 4]
    assert_equal(rest.weights(), whole.weights())
    assert rest.trainer.state.iteration == whole.trainer.state.iteration == 12


def test_what_else_has_a_state_is_resumed_too(tmp_path):
    average = nn.Linear(3, 1)
    Training(tmp_path, stateful={"average": average}).run()
    other = nn.Linear(3, 1)
    Training(tmp_path, stateful={"average": other}, resume=True).run()
    assert_equal(other.state_dict(), average.state_dict())


def test_the_best_metric_survives_a_resume(tmp_path):
    best = Training(tmp_path, metrics=[0.7]).run().weights()
    Training(tmp_path, metrics=[0.6], resume=True).run(epochs=2)
    assert_equal(load(tmp_path / "model.pt"), best)


def test_without_resume_a_training_starts_anew(tmp_path):
    Training(tmp_path).run(epochs=2)
    assert Training(tmp_path).run(epochs=2).epochs == [1, 1, 1, 2, 2, 2]


def test_a_resume_without_a_file_ends_and_touches_nothing(tmp_path):
    with pytest.raises(InputError, match=r"checkpoint\.pt to resume from, found none; start anew"):
        Training(tmp_path, resume=True).run(1)
    assert not list(tmp_path.rglob("*.pt"))


def test_a_finished_training_is_not_trained_again(tmp_path):
    Training(tmp_path).run(epochs=2)
    assert Training(tmp_path, resume=True).run(epochs=2).epochs == []


def resume_ends(folder, **changed):
    """What the program says when it ends on a resume that cannot go on."""
    training = Training(folder, resume=True, **changed)
    message = message_of(training.run, epochs=2)
    assert training.epochs == [] and "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"network": nn.Linear(3, 2)}, r"size mismatch for weight: .*\[1, 3\].*\[2, 3\]"),
        ({"optimizer": torch.optim.SGD}, "no dampening, momentum of the optimizer"),
        ({"stateful": {"average": nn.Linear(1, 1)}}, "no average"),
    ],
    ids=["network", "optimizer", "stateful"],
)
def test_a_checkpoint_of_another_configuration_ends_the_program(tmp_path, changed, reason):
    Training(tmp_path).run()
    message = resume_ends(tmp_path, **changed)
    before, after = (
        f"Expected {tmp_path}/training/checkpoint.pt to be of this network and optimizer, got: ",
        "; resume",
    )
    assert re.match(f"{before}.*{reason}.*{after} with the configuration that wrote it", message)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "EOFError"),
        (b"no torch file", "Weights only load failed"),
        (b"PK\x03\x04 half a zip", "PytorchStreamReader failed reading zip archive"),
    ],
    ids=["empty", "text", "zip"],
)
def test_a_damaged_checkpoint_ends_the_program(tmp_path, content, reason):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "checkpoint.pt").write_bytes(content)
    message = resume_ends(tmp_path)
    assert message.startswith(
        f"Expected {tmp_path}/training/checkpoint.pt to be a whole checkpoint, got: {reason}"
    )
    assert message.endswith("; restore it, or start anew without resume.")


def test_a_file_that_is_no_checkpoint_ends_the_program(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "checkpoint.pt")  # where an older version had it
    assert "got: no best, epoch, iteration, network, optimizer; resume" in resume_ends(tmp_path)


@pytest.mark.parametrize(("rank", "lines"), [(0, 3), (1, 0)])
def test_only_the_first_process_logs(tmp_path, caplog, monkeypatch, rank, lines):
    Training(tmp_path, metrics=[0.5]).run()
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(checkpoints.idist, "get_rank", lambda: rank)
    training = Training(tmp_path, metrics=[0.6, 0.4], resume=True)
    training.interrupt = 4, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        training.run(epochs=4)
    said = ["resumed from", "is the best so far", "best so far 0.6"]
    assert [text for text in said if text in caplog.text] == said[:lines]


def test_an_interruption_says_what_was_kept_and_how_to_go_on(tmp_path):
    training = Training(tmp_path)
    training.interrupt = 3, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as stopped:
        training.run(epochs=4)
    assert str(stopped.value) == (
        f"Interrupted in epoch 3; {tmp_path}/training/checkpoint.pt holds the training until epoch 2: go on "
        "with --resume true."
    )


def test_another_error_is_passed_on_and_explained_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    training = Training(tmp_path)
    training.interrupt = 2, RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        training.run(epochs=2)
    assert caplog.text.count("go on with --resume true") == 1


def test_an_interruption_before_the_first_checkpoint_does_not_speak_of_resuming(tmp_path):
    training = Training(tmp_path)
    training.interrupt = 1, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="nothing was kept"):
        training.run()


def test_an_evaluation_without_a_training_writes_nothing(tmp_path):
    training = Training(tmp_path, metrics=[0.9])
    training.evaluator.run([0])
    assert training.checkpoints.best == float("-inf") and not list(tmp_path.iterdir())


def test_nothing_that_a_tool_takes_for_a_model_lies_beside_the_weights(tmp_path):
    Training(tmp_path, metrics=[0.5, 0.6]).run(epochs=2)
    assert [file.name for file in tmp_path.glob("*.pt")] == ["model.pt"]


def test_the_checkpoint_of_an_older_version_is_resumed_and_moves(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    Training(tmp_path, metrics=[0.5]).run()
    content = load(tmp_path / "training" / "checkpoint.pt")
    del content["weights_sha256"]
    torch.save(content, tmp_path / "checkpoint.pt")
    (tmp_path / "training" / "checkpoint.pt").unlink()
    assert Training(tmp_path, metrics=[0.6], resume=True).run(epochs=2).epochs == [2, 2, 2]
    assert "kept as" not in caplog.text
    assert not (tmp_path / "checkpoint.pt").exists() and (tmp_path / "training" / "checkpoint.pt").exists()


def test_a_training_that_goes_on_replaces_its_own_files(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    Training(tmp_path, metrics=[0.5]).run()
    Training(tmp_path, metrics=[0.6, 0.7], resume=True).run(epochs=3)
    assert "kept as" not in caplog.text
    assert sorted(file.name for file in tmp_path.rglob("*.pt")) == ["checkpoint.pt", "model.pt"]


@pytest.mark.parametrize("place", ["training/checkpoint.pt", "checkpoint.pt"], ids=["now", "older version"])
def test_a_new_training_keeps_the_files_of_the_one_before(tmp_path, caplog, place):
    caplog.set_level(logging.INFO)
    Training(tmp_path, metrics=[0.5]).run()
    (tmp_path / "training" / "checkpoint.pt").rename(tmp_path / place)
    before = [(tmp_path / name).read_bytes() for name in ("model.pt", place)]
    Training(tmp_path, metrics=[0.6, 0.7]).run(epochs=2)
    (weights,), (state,) = tmp_path.glob("model_*.pt"), tmp_path.rglob("checkpoint_*.pt")
    assert [weights.read_bytes(), state.read_bytes()] == before
    assert state.parent == tmp_path / "training" and not (tmp_path / "checkpoint.pt").exists()
    assert (
        caplog.text.count(f"{tmp_path / 'model.pt'} was there before this training; kept as {weights}") == 1
    )
    assert caplog.text.count(f"{tmp_path / place} is of an earlier training; kept as {state}") == 1
    assert load(tmp_path / "training" / "checkpoint.pt")["epoch"] == 2


def test_a_training_that_ends_in_its_first_epoch_leaves_the_checkpoint_before(tmp_path):
    Training(tmp_path).run(epochs=2)
    training = Training(tmp_path)
    training.interrupt = 1, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        training.run()
    assert Training(tmp_path, resume=True).run(epochs=3).epochs == [3, 3, 3]


def test_weights_of_others_are_kept_under_a_dated_name(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "model.pt").write_bytes(b"of others")
    Training(tmp_path, metrics=[0.5, 0.6]).run(epochs=2)
    (kept,) = tmp_path.glob("model_*.pt")
    assert kept.read_bytes() == b"of others"
    assert caplog.text.count(f"was there before this training; kept as {kept}") == 1


def test_a_training_that_keeps_nothing_leaves_the_weights_of_others(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"of others")
    training = Training(tmp_path)
    training.interrupt = 1, RuntimeError("bug")
    with pytest.raises(RuntimeError, match="bug"):
        training.run()
    assert [file.name for file in tmp_path.glob("*.pt")] == ["model.pt"]


@pytest.mark.parametrize("ends", [None, RuntimeError("bug")])
def test_a_folder_has_one_training_at_a_time(tmp_path, ends):
    first = Training(tmp_path)
    second = Training(tmp_path)
    first.trainer.add_event_handler(Events.EPOCH_STARTED(once=2), lambda: message_of(second.run))
    if ends:
        first.interrupt = 3, ends
        with pytest.raises(RuntimeError):
            first.run(epochs=3)
    else:
        first.run(epochs=3)
    assert second.epochs == [] and Training(tmp_path).run().epochs == [1, 1, 1]


def test_a_resume_of_a_training_that_is_at_its_end_says_so(tmp_path, caplog):
    Training(tmp_path, metrics=[0.2, 0.3]).run(epochs=2)
    caplog.set_level(logging.INFO)
    again = Training(tmp_path, metrics=[0.4], resume=True).run(epochs=2)
    assert again.epochs == [] and "nothing is left to train: max_epochs is 2" in caplog.text
    caplog.clear()
    Training(tmp_path, metrics=[0.4], resume=True).run(epochs=3)
    assert "nothing is left" not in caplog.text
