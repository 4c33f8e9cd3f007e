import pytest
import torch
from torch import nn

from monai_ext.networks.dual_branch import DualBranchUNet

SMALL = dict(num_classes=3, channels=(4, 8, 8), strides=(2, 2))


def build(spatial_dims=2, branches="both", **kwargs):
    torch.manual_seed(0)
    return DualBranchUNet(spatial_dims, in_channels=2, branches=branches, **(SMALL | kwargs))


def picture(*space, batch=2, modalities=2):
    return torch.rand(batch, modalities, *space, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("space", [(16, 24), (8, 16, 12)], ids=["2d", "3d"])
@pytest.mark.parametrize(("branches", "outputs"), [("both", (2,)), ("teacher", ()), ("student", ())])
def test_logits_have_the_size_of_the_image(space, branches, outputs):
    logits = build(len(space), branches)(picture(*space))
    assert logits.shape == (2, *outputs, 3, *space)


@pytest.mark.parametrize("strides", [(1,), (3,), (2, 1, 3)], ids=str)
def test_any_strides_bring_back_the_size(strides):
    net = build(channels=(4, 8, 6, 5)[: len(strides) + 1], strides=strides)
    assert net(picture(12, 18)).shape == (2, 2, 3, 12, 18)


def test_both_decoders_read_the_same_features():
    net, seen = build(), []
    for decoder in net.decoders.values():
        decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(picture(16, 16))
    teacher, student = seen
    assert len(teacher) == 3 and all(a is b for a, b in zip(teacher, student, strict=True))


def test_the_teacher_comes_first():
    net = build().eval()
    image = picture(16, 16)
    features = net.encoder(image)
    for i, name in enumerate(("teacher", "student")):
        torch.testing.assert_close(net(image)[:, i], net.decoders[name](features), rtol=0, atol=0)


def has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and p.grad.any() for p in module.parameters())


@pytest.mark.parametrize(("branch", "other"), [("teacher", "student"), ("student", "teacher")])
def test_the_loss_of_a_branch_reaches_its_decoder_and_the_encoder_only(branch, other):
    net = build()
    logits = net(picture(16, 16))[:, ["teacher", "student"].index(branch)]
    logits.square().mean().backward()
    assert has_gradient(net.decoders[branch]) and has_gradient(net.encoder)
    assert not has_gradient(net.decoders[other])


@pytest.mark.parametrize("branch", ["teacher", "student"])
def test_a_network_of_one_branch_loads_the_weights_of_both_and_equals_that_branch(branch):
    both, one = build().eval(), build(branches=branch).eval()
    for p in both.parameters():
        nn.init.normal_(p, std=0.3)
    weights = both.state_dict()
    before = set(weights)
    one.load_state_dict(weights)
    image = picture(16, 16)
    logits = both(image)[:, ["teacher", "student"].index(branch)]
    torch.testing.assert_close(one(image), logits, rtol=0, atol=0)
    assert set(weights) == before  # the caller's dictionary is left alone


def test_as_part_of_another_module_it_loads_the_weights_of_both_too():
    both, one = nn.Sequential(build()).eval(), nn.Sequential(build(branches="student")).eval()
    loaded = one.load_state_dict(both.state_dict())
    assert (loaded.missing_keys, loaded.unexpected_keys) == ([], [])
    image = picture(16, 16)
    torch.testing.assert_close(one(image), both(image)[:, 1], rtol=0, atol=0)


def test_other_wrong_weights_are_refused():
    weights = build().state_dict()
    weights["decoders.extra.head.conv.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=r"decoders\.extra"):
        build(branches="student").load_state_dict(weights)
    with pytest.raises(RuntimeError, match=r"decoders\.teacher"):
        build().load_state_dict(build(branches="student").state_dict())


@pytest.mark.parametrize("branches", ["student", "both"])
def test_torchscript_equals_eager(branches):
    net = build(branches=branches).eval()
    scripted = torch.jit.script(net)
    for size in (16, 24):
        image = picture(size, 16)
        torch.testing.assert_close(scripted(image), net(image), rtol=0, atol=0)


@pytest.mark.parametrize("branches", ["both", "student"])
def test_a_2d_network_of_default_width_is_small(branches):
    net = DualBranchUNet(2, in_channels=1, num_classes=4, branches=branches)
    size = sum(value.nbytes for value in net.state_dict().values())
    assert size < 8e6


def test_says_which_branches_exist():
    with pytest.raises(ValueError, match=r"one of \['both', 'student', 'teacher'\], got 'weak'"):
        build(branches="weak")


@pytest.mark.parametrize(("channels", "strides"), [((4,), ()), ((4, 8), (2, 2)), ((4, 8, 8), (2,))])
def test_says_which_channels_and_strides_disagree(channels, strides):
    with pytest.raises(ValueError, match="at least two channels and one stride fewer, got channels"):
        build(channels=channels, strides=strides)
