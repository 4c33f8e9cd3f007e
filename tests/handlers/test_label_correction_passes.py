"""A pass over the noisy items: whose predictions correct them, and what else stays as it was."""

import itertools
import logging

import pytest
import torch
from ignite.engine import Engine, Events
from monai.inferers import SlidingWindowInferer
from torch import nn

from tests.handlers.noisy_training import K, labels, make_correction, make_network


def average_by_hand(network, image):
    """Mean of the probabilities (K, *S) at two sizes, each as it is and with the first axis flipped."""
    mode, size = ("bilinear" if image.ndim == 3 else "trilinear"), [n * 3 // 2 for n in image.shape[1:]]
    views = []
    for axes in ([], [2]):
        x = image[None].flip(axes)
        large = network(nn.functional.interpolate(x, size, mode=mode))
        for logits in (network(x), nn.functional.interpolate(large, image.shape[1:], mode=mode)):
            views.append(logits.softmax(dim=1).flip(axes)[0])
    return torch.stack(views).mean(dim=0)


@torch.no_grad()
def probs_by_hand(correction, item, dims):
    image = correction.journal.cache.volume(item)[0].float()
    if dims == 3:
        return average_by_hand(correction.averaged, image)
    slices = image.unbind(dim=-1)
    return torch.stack([average_by_hand(correction.averaged, x) for x in slices], dim=-1)


@pytest.mark.parametrize("dims", [2, 3])
def test_probabilities_are_the_mean_of_all_views_in_evaluation_mode(dims):
    correction = make_correction(dims)
    assert not any(module.training for module in correction.averaged.modules())
    for item in (0, 1):
        found, wanted = correction.probs(item), probs_by_hand(correction, item, dims)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
        assert not found.requires_grad and found.shape[1:] == correction.journal.original(item).shape[1:]


@torch.no_grad()
def test_the_windows_of_a_volume_are_averaged_as_probabilities():
    correction = make_correction(3, make_network(3, certainty=5))
    correction.inferer = SlidingWindowInferer((8, 8, 8), overlap=0.5, mode="constant")
    image = correction.journal.cache.volume(0)[0].float()
    total, times = torch.zeros(K, 12, 12, 8), torch.zeros(12, 12, 8)
    for x, y in itertools.product((0, 4), repeat=2):
        part = slice(None), slice(x, x + 8), slice(y, y + 8)
        total[part] += average_by_hand(correction.averaged, image[part])
        times[part[1:]] += 1
    torch.testing.assert_close(correction.probs(0), total / times, rtol=1e-4, atol=1e-6)


def test_predictions_are_by_the_moving_average_of_weights_and_statistics():
    network, momentum = make_network(2), 0.3
    correction = make_correction(network=network, momentum=momentum)
    averaged = {name: value.clone() for name, value in network.state_dict().items()}
    x, engine = torch.randn(4, 1, 8, 8), Engine(lambda engine, batch: None)
    correction.ema.attach(engine)

    @engine.on(Events.ITERATION_STARTED)
    def learn():
        network(x)
        with torch.no_grad():
            for value in network.parameters():
                value.add_(torch.randn(value.shape))

    @engine.on(Events.ITERATION_COMPLETED)
    def average_by_hand():
        for name, value in network.state_dict().items():
            moved = (1 - momentum) * averaged[name] + momentum * value
            averaged[name] = moved if value.is_floating_point() else value.clone()

    engine.run([0] * 5)
    torch.testing.assert_close(dict(correction.averaged.state_dict()), averaged)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_pass_leaves_both_networks_and_the_random_state_as_they_were(dims, training):
    network = make_network(dims, certainty=5).train(training)
    correction = make_correction(dims, network)
    networks = network, correction.averaged
    before = [{name: value.clone() for name, value in part.state_dict().items()} for part in networks]
    random = torch.get_rng_state()
    correction.correct(1, [1, 2])
    assert correction.journal.changes  # so something was done
    for part, values in zip(networks, before, strict=True):
        torch.testing.assert_close(dict(part.state_dict()), values, rtol=0, atol=0)
    assert all(module.training is training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_pass_gives_noisy_items_the_label_of_the_rule_and_says_how_much_changed(dims, caplog):
    caplog.set_level(logging.INFO)
    correction = make_correction(dims, make_network(dims, certainty=5))
    before, wanted = labels(correction), labels(correction)
    for item in (0, 2):
        wanted[item] = correction.rule(probs_by_hand(correction, item, dims), before[item], [1])
    correction.correct(4, [1])
    assert all(map(torch.equal, labels(correction), wanted))
    changed = sum(int((old != new).sum()) for old, new in zip(before, wanted, strict=True))
    share = changed / (before[0].numel() + before[2].numel())
    assert changed and f"epoch 4: corrected {changed} voxels, {share:.2%} of the noisy labels" in caplog.text
