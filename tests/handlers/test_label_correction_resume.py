import pytest
import torch

from tests.handlers.noisy_training import labels, train


@pytest.mark.parametrize("stop", range(1, 8))
def test_a_resumed_training_ends_with_the_labels_curves_and_decisions_of_an_uninterrupted_one(tmp_path, stop):
    network, whole = train(tmp_path / "whole", interval=2)
    train(tmp_path / "parts", stop=stop, interval=2)
    resumed_network, resumed = train(tmp_path / "parts", resume=True, interval=2)
    assert len({c.epoch for c in whole.journal.changes}) > 1  # changes before and after some of the stops
    assert resumed.detector.summary() == whole.detector.summary()
    assert all(map(torch.equal, labels(resumed), labels(whole)))
    for here, there in zip(resumed.journal.changes, whole.journal.changes, strict=True):
        assert here[:2] == there[:2] and all(map(torch.equal, here[2:], there[2:]))
    for here, there in ((resumed_network, network), (resumed.averaged, whole.averaged)):
        torch.testing.assert_close(here.state_dict(), there.state_dict(), rtol=0, atol=0)
