import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monai_ext.losses import KLDivergenceLoss, ShannonEntropyLoss

SPACES = pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)], ids=["2d", "3d"])


def probabilities(logits: Tensor, temperature: float = 1.0) -> list[np.ndarray]:
    """The softmax of every voxel of the batch, one vector of classes each."""
    vectors = []
    for z in logits.detach().numpy():
        for r in np.ndindex(z.shape[1:]):
            e = np.exp(z[(slice(None), *r)] / temperature)
            vectors.append(e / e.sum())
    return vectors


def random_logits(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@SPACES
def test_entropy_equals_the_written_formula(space):
    logits = random_logits(2, 3, *space)
    expected = np.mean([-sum(pk * np.log(pk) for pk in p) for p in probabilities(logits)])
    torch.testing.assert_close(ShannonEntropyLoss()(logits).item(), float(expected))


@SPACES
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergence_equals_the_written_formula(space, temperature):
    student, teacher = random_logits(2, 3, *space), random_logits(2, 3, *space, seed=1)
    pairs = zip(probabilities(teacher, temperature), probabilities(student, temperature), strict=True)
    expected = np.mean(
        [sum(t * (np.log(t) - np.log(b)) for t, b in zip(*pair, strict=True)) for pair in pairs]
    )
    loss = KLDivergenceLoss(temperature=temperature)(student, teacher)
    torch.testing.assert_close(loss.item(), float(expected))


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0, 100))
@settings(max_examples=25, deadline=None)
def test_entropy_lies_between_zero_and_log_k(seed, classes, scale):
    entropy = ShannonEntropyLoss()(random_logits(1, classes, 3, 3, seed=seed, scale=scale)).item()
    assert 0 <= entropy <= math.log(classes) + 1e-12


@pytest.mark.parametrize("classes", [2, 5])
def test_entropy_of_equal_classes_is_log_k_with_no_gradient(classes):
    logits = torch.full((1, classes, 2, 2), 3.0, dtype=torch.float64, requires_grad=True)
    entropy = ShannonEntropyLoss()(logits)
    entropy.backward()
    assert entropy.item() == pytest.approx(math.log(classes))
    assert logits.grad.abs().max() < 1e-15


def test_entropy_of_certainty_is_zero():
    logits = 1000 * torch.eye(3).reshape(1, 3, 3, 1)
    assert ShannonEntropyLoss()(logits).item() == 0


def test_entropy_spares_the_most_uncertain_voxel_that_a_pseudo_mask_pushes_by_two():
    p = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    logits = torch.stack([1 - p, p]).log().reshape(1, 2, 1, 1)
    (by_entropy,) = torch.autograd.grad(ShannonEntropyLoss()(logits), p, retain_graph=True)
    (by_pseudo_mask,) = torch.autograd.grad(-logits.log_softmax(dim=1)[0, 1].sum(), p)  # arg-max at 0.5 plus
    assert by_entropy.abs() < 1e-12
    assert by_pseudo_mask.item() == pytest.approx(-2)


@given(st.integers(0, 10_000), st.floats(0, 20))
@settings(max_examples=25, deadline=None)
def test_divergence_is_zero_for_equals_and_never_negative(seed, scale):
    student = random_logits(1, 4, 3, 3, seed=seed, scale=scale)
    teacher = random_logits(1, 4, 3, 3, seed=seed + 1, scale=scale)
    assert KLDivergenceLoss()(student, student).item() == 0
    assert KLDivergenceLoss()(student, teacher).item() >= -1e-12


def test_divergence_has_a_direction():
    student, teacher = random_logits(1, 3, 4, 4), random_logits(1, 3, 4, 4, seed=1)
    loss = KLDivergenceLoss()
    assert abs(loss(student, teacher) - loss(teacher, student)) > 1e-3


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergence_moves_the_student_by_the_difference_of_probabilities(temperature):
    student, teacher = random_logits(2, 3, 4, 4).requires_grad_(), random_logits(2, 3, 4, 4, seed=1)
    KLDivergenceLoss(temperature=temperature)(student, teacher).backward()
    p_student, p_teacher = ((z / temperature).softmax(dim=1) for z in (student, teacher))
    torch.testing.assert_close(student.grad, (p_student - p_teacher) / (temperature * 2 * 4 * 4))


def test_a_detached_teacher_gets_no_gradient_at_all():
    student = random_logits(1, 3, 4, 4).requires_grad_()
    teacher = random_logits(1, 3, 4, 4, seed=1).requires_grad_()
    KLDivergenceLoss()(student, teacher).backward()
    assert teacher.grad is None
    KLDivergenceLoss(detach_teacher=False)(student, teacher).backward()
    assert teacher.grad.abs().max() > 0


def test_gradients():
    student = random_logits(1, 3, 2, 2).requires_grad_()
    teacher = random_logits(1, 3, 2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(ShannonEntropyLoss(), student)
    assert torch.autograd.gradcheck(
        KLDivergenceLoss(detach_teacher=False, temperature=2.0), (student, teacher)
    )


def test_extreme_logits_stay_finite():
    student = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1).requires_grad_()
    teacher = (-student).detach().requires_grad_()
    total = KLDivergenceLoss(detach_teacher=False)(student, teacher) + ShannonEntropyLoss()(student)
    total.backward()
    assert total.item() == 2e4
    assert student.grad.isfinite().all()
    assert teacher.grad.isfinite().all()


def test_half_precision_logits_are_averaged_in_float32():
    student, teacher = torch.randn(2, 2, 3, 64, 64).bfloat16()
    for loss, arguments in ((ShannonEntropyLoss(), (student,)), (KLDivergenceLoss(), (student, teacher))):
        value = loss(*arguments)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, loss(*(z.float() for z in arguments)))


def test_an_empty_batch_gives_zero():
    nothing = torch.zeros(0, 3, 4, 4, requires_grad=True)
    total = ShannonEntropyLoss()(nothing) + KLDivergenceLoss()(nothing, nothing)
    total.backward()
    assert total.item() == 0


def test_says_which_shapes_disagree():
    with pytest.raises(ValueError, match=r"one shape .* got \(1, 2, 4, 4\) and \(1, 3, 4, 4\)"):
        KLDivergenceLoss()(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_says_that_the_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match=f"temperature > 0, got {temperature}"):
        KLDivergenceLoss(temperature=temperature)
