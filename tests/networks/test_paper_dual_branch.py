"""Sizes are those of the published network file; for 256 pixels it decides on a grid of 68."""

import pytest
import torch

from monai_ext.networks.paper_dual_branch import PaperDualBranchUNet


@pytest.fixture(scope="module")
def net():
    return PaperDualBranchUNet(in_channels=1, num_classes=3, branches="student").eval()


def sizes_of(module, found):
    return module.register_forward_hook(lambda _, args, value: found.append(tuple(value.shape[1:])))


def test_feature_sizes_are_the_published_ones(net):
    found = []
    watched = [*net.encoder.levels, net.encoder.center, *net.decoders["student"].levels]
    hooks = [sizes_of(module, found) for module in (*watched, net.decoders["student"])]
    with torch.no_grad():
        logits = net(torch.rand(1, 1, 256, 256))
    for hook in hooks:
        hook.remove()
    assert found[:4] == [(64, 126, 126), (128, 61, 61), (256, 28, 28), (512, 12, 12)]
    assert found[4:8] == [(512, 16, 16), (256, 24, 24), (128, 40, 40), (64, 72, 72)]
    assert found[8:] == [(64, 68, 68), (3, 68, 68)]
    assert logits.shape == (1, 3, 256, 256)


@torch.no_grad()
def test_the_smallest_image_has_logits_of_both_branches():
    net = PaperDualBranchUNet(num_classes=2).eval()
    image = torch.rand(1, 1, 188, 190)
    logits = net(image)
    assert logits.shape == (1, 2, 2, 188, 190)
    student = PaperDualBranchUNet(num_classes=2, branches="student").eval()
    student.load_state_dict(net.state_dict())
    torch.testing.assert_close(student(image), logits[:, 1], rtol=0, atol=0)


def test_says_that_an_image_is_too_small(net):
    with pytest.raises(ValueError, match="at least 188 pixels a side, got"):
        net(torch.zeros(1, 1, 256, 187))


def test_convolutions_start_with_zero_bias(net):
    heads = [net.decoders["student"].head, net.encoder.levels[0][0][0]]
    assert not any(head.bias.any() for head in heads)


def test_scripts(net):
    scripted = torch.jit.script(net)
    with torch.no_grad():
        assert scripted(torch.zeros(1, 1, 188, 188)).shape == (1, 3, 188, 188)


def test_says_which_branches_exist():
    with pytest.raises(ValueError, match=r"one of \['both', 'student', 'teacher'\], got 'top'"):
        PaperDualBranchUNet(branches="top")
