"""What weights a bundle takes before it segments or scores."""

import pytest
import torch

from monai_ext import bundle
from tests.exit_messages import message_of


def test_inference_needs_weights(tmp_path):
    weights = tmp_path / "model.pt"
    network = torch.nn.Linear(2, 1)
    message = message_of(bundle.require_weights, weights, network)
    assert f"Expected trained weights at {weights}, found none" in message
    torch.save(network.state_dict(), weights)
    bundle.require_weights(weights, network)
    message = message_of(bundle.require_weights, weights, torch.nn.Linear(3, 1))
    assert f"Expected weights weight of shape (1, 3) in {weights}, got (1, 2)" in message
    deeper = torch.nn.Sequential(torch.nn.Linear(2, 1))
    assert "got none" in message_of(bundle.require_weights, weights, deeper)


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 half of an archive"])
def test_damaged_weights_end_the_program_with_one_line(tmp_path, content):
    weights = tmp_path / "model.pt"
    weights.write_bytes(content)
    message = message_of(bundle.require_weights, weights, torch.nn.Linear(2, 1))
    assert message.startswith(f"Expected {weights} to be whole weights, got: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [(None, "such as num_classes and channels"), ({"modalities": ["t1"]}, "such as modalities and channels")],
)
def test_weights_of_a_larger_network_are_refused(tmp_path, settings, words):
    weights = tmp_path / "model.pt"
    torch.save(torch.nn.Linear(2, 1).state_dict(), weights)
    smaller = torch.nn.Linear(2, 1, bias=False)
    message = message_of(bundle.require_weights, weights, smaller, settings)
    assert message.startswith(
        f"Expected no weights bias in {weights}, got (1,): weights of another network; "
    )
    assert "pass --weights with those of this one" in message and words in message


def test_a_file_of_more_than_weights_is_refused(tmp_path):
    weights = tmp_path / "checkpoint.pt"
    network = torch.nn.Linear(2, 1)
    torch.save({"network": network.state_dict(), "epoch": 3}, weights)
    message = message_of(bundle.require_weights, weights, network)
    assert f"Expected weights weight of shape (1, 2) in {weights}, got none" in message
