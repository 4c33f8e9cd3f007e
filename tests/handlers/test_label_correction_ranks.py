"""A pass as one of two processes sees it: the other is played here, and real in the slow tests."""

import ignite.distributed as idist
import pytest
import torch

from tests.handlers.noisy_training import labels, make_correction

CLASSES = [1, 2]


def with_statistics(value):
    """A correction whose averaged network has this value in all its buffers."""
    correction = make_correction()
    for buffer in correction.averaged.buffers():
        buffer.fill_(value)
    return correction


@pytest.fixture
def second_of_two(monkeypatch):
    """Makes this process the second of two; the first has statistics of 3 and the given labels."""

    def play(labels_of_first):
        def broadcast(values, src):
            assert src == 0
            values.fill_(3)

        def all_gather_object(parts, mine):
            parts[:] = [labels_of_first, mine]

        monkeypatch.setattr(idist, "get_world_size", lambda: 2)
        monkeypatch.setattr(idist, "get_rank", lambda: 1)
        monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
        monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)

    return play


def test_a_process_predicts_its_share_by_the_statistics_of_the_first(second_of_two):
    alone = with_statistics(3)
    alone.correct(1, CLASSES)
    wanted = labels(alone)
    own = with_statistics(1)
    own.correct(1, CLASSES)
    assert not torch.equal(labels(own)[2], wanted[2])  # else the statistics would not matter
    second = with_statistics(1)
    second_of_two({0: wanted[0]})
    second.correct(1, CLASSES)
    for found, expected in zip(labels(second), wanted, strict=True):
        assert torch.equal(found, expected)
    changes, expected = ([list(c) for c in one.journal.changes] for one in (second, alone))
    torch.testing.assert_close(changes, expected, rtol=0, atol=0)
