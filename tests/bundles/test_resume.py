"""A training that was killed goes on, and a training that another tool has changed runs."""

import pytest
import torch
from ignite.engine import Events

from monai_ext.datalist.datalist import items

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code


class Record:
    """Handler that notes the epochs and may interrupt one in its middle, as Ctrl-C would."""

    def __init__(self, stop_in=None):
        self.stop_in, self.epochs = stop_in, []

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self.epochs.append(engine.state.epoch))
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.stop)

    def stop(self, engine):
        if engine.state.epoch == self.stop_in and engine.state.iteration % engine.state.epoch_length == 2:
            raise KeyboardInterrupt

    def __deepcopy__(self, memo):  # MONAI copies what it is told
        return self


def assert_equal(found, wanted):
    """Compare nested dictionaries and lists of tensors and of anything else, bit by bit."""
    assert type(found) is type(wanted)
    if isinstance(wanted, torch.Tensor):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    elif isinstance(wanted, dict | list | tuple):
        assert len(found) == len(wanted)
        for key in wanted if isinstance(wanted, dict) else range(len(wanted)):
            assert_equal(found[key], wanted[key])
    else:
        assert found == wanted


def test_a_killed_training_resumes_to_identical_weights(copies):
    whole, parts = copies("whole"), copies("parts")
    whole.run("train", epochs=4)
    killed, rest = Record(stop_in=3), Record()
    with pytest.raises(KeyboardInterrupt, match="go on with --resume true"):
        parts.run("train", epochs=4, **parts.handlers(after=[killed]))
    assert killed.epochs == [1, 2, 3]
    parts.run("train", epochs=4, resume=True, **parts.handlers(after=[rest]))
    assert rest.epochs == [3, 4]
    for file in ("training/checkpoint.pt", "model.pt"):
        assert_equal(parts.load(file), whole.load(file))


def test_training_really_learns_something_else_with_another_seed(copies):
    """Otherwise the equality above would say nothing."""
    one, other = copies("one"), copies("other")
    one.run("train", epochs=1)
    other.run("train", epochs=1, seed=1)
    found, different = (copy.load("training/checkpoint.pt")["network"] for copy in (one, other))
    assert not all(torch.equal(found[key], different[key]) for key in found)


def plain_items(data, section):
    """Items with nothing but what training needs: files of full masks, or tags instead."""
    listed = [i for i in items(data / "datalist.json", section) if i["supervision"] in ("full", "tags")]
    keys = ("image", "label", "tags", "supervision") if "tags" in listed[0] else ("image", "label")
    return [{key: item[key] for key in keys if key in item} for item in listed]


def test_monai_label_can_replace_data_epochs_and_handlers(bundle, trained, data, tmp_path):
    """Plain items, no datalist, weights to start from: what MONAI Label's training sets."""
    (tmp_path / "empty").mkdir()
    bundle.data, record = tmp_path / "empty", Record()
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": str(trained.models / "model.pt"),
        "load_dict": {"model": "$@network"},
    }
    bundle.run(
        "train",
        epochs=1,
        **{"train#dataset#data": plain_items(data, "training"), "optimizer::lr": 0.0},
        **{"validate#dataset#data": plain_items(data, "validation")},
        **bundle.handlers(before=[loader], after=[record]),
    )
    assert record.epochs == [1]
    parameters = {key for key in trained.load("model.pt") if key.endswith("weight")}
    found, start = ({k: copy.load("model.pt")[k] for k in parameters} for copy in (bundle, trained))
    assert_equal(found, start)
