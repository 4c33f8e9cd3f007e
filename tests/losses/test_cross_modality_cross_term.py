import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_ext.inferers import TwoViews
from monai_ext.losses import CrossModalityEquivarianceLoss
from tests.losses.cross_modality import TAGS, by_hand, case, certain, gradients_of


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_published_reduction_equals_its_formula(modalities):
    views = case(modalities=modalities)
    loss = CrossModalityEquivarianceLoss(pool_share=1, cross_reduction="mean")
    loss(views, TAGS)
    expected = by_hand(views, TAGS[:, 0].tolist(), 1, 1, mean=True)["cross"]
    assert loss.terms["cross"].item() == pytest.approx(expected)


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_gate_of_the_more_certain_equals_its_formula(modalities):
    views = case(modalities=modalities, batch=6)
    tags = torch.ones(6, 1).long()
    terms = []
    for gate in ("found", "more_certain"):
        loss = CrossModalityEquivarianceLoss(pool_share=0.4, cross_gate=gate)
        loss(views, tags)
        terms.append(loss.terms["cross"].item())
        assert terms[-1] == pytest.approx(by_hand(views, [1] * 6, 0.4, 1, gate=gate)["cross"])
    assert terms[0] > terms[1] > 0


def test_the_cross_term_has_the_gradient_of_its_formula_where_one_modality_is_the_teacher():
    cams = torch.rand(2, 1, 2, 3, 3, dtype=torch.float64) + 0.1
    views = certain(cams)
    for maps in (views.maps, views.maps_of_moved):
        maps[:, 0] += 200  # the first modality does not find the tag, so it teaches nothing
    loss = CrossModalityEquivarianceLoss(0, 1, 0)

    def value(first, second):
        moved, of_moved = (
            torch.cat((z, v[:, 2:]), 1) for z, v in zip((first, second), views[1:3], strict=True)
        )
        return loss(TwoViews(views.maps, moved, of_moved, views.valid), torch.ones(1, 1).long())

    assert torch.autograd.gradcheck(value, [v[:, :2].clone().requires_grad_() for v in views[1:3]])


def test_maps_with_no_pixel_in_common_are_2_apart_in_each_modality():
    cams = torch.zeros(2, 1, 2, 4, 4)
    cams[:, :, 0, :2], cams[:, :, 1, 2:] = 3.0, 0.5
    loss = CrossModalityEquivarianceLoss()
    loss(certain(cams), torch.tensor([[1]]))
    assert loss.terms["cross"].item() == pytest.approx(2 + 2)
    assert loss.terms["within"] == 0


def test_maps_that_differ_by_a_factor_agree():
    cam = torch.rand(1, 3, 1, 5, 4).expand(2, 3, 2, 5, 4)
    factors = torch.tensor([[1.0, 4.0], [0.25, 32.0]])[:, None, :, None, None]
    loss = CrossModalityEquivarianceLoss()
    loss(certain(cam * factors), torch.ones(3, 1).long())
    assert loss.terms["cross"] == 0


@given(st.floats(1e-3, 1e3), st.sampled_from([0, 1]), st.sampled_from([0, 1, 2]))
@settings(max_examples=30, deadline=None)
def test_a_positive_factor_on_a_map_does_not_change_how_far_it_is_from_the_others(factor, view, modality):
    cams = torch.rand(2, 2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    loss, tags = CrossModalityEquivarianceLoss(), torch.ones(2, 1).long()
    loss(certain(cams), tags)
    before = loss.terms["cross"]
    cams[view, :, modality] *= factor
    loss(certain(cams), tags)
    assert before > 0.1
    torch.testing.assert_close(loss.terms["cross"], before)


def test_a_modality_that_does_not_find_the_tag_teaches_nothing():
    cams = torch.rand(2, 1, 2, 4, 4)
    for found, blind in ((0, 1), (1, 0)):
        views = certain(cams)
        for maps in (views.maps, views.maps_of_moved):
            maps[:, 2 * blind] += 200
        grads = torch.stack(gradients_of("cross", views, torch.tensor([[1]]))).unflatten(2, (2, 2))
        assert grads[:, :, blind].any()
        torch.testing.assert_close(grads[:, :, found], torch.zeros_like(grads[:, :, found]), rtol=0, atol=0)
    loss = CrossModalityEquivarianceLoss()
    loss(certain(cams, found=False), torch.tensor([[1]]))
    assert loss.terms["cross"] == 0


def test_the_more_certain_modality_teaches_the_other_only():
    cams = torch.rand(2, 1, 2, 4, 4)
    for sure in (0, 1):
        views = certain(cams)
        for maps in (views.maps, views.maps_of_moved):
            maps[:, 2 * sure] -= 50
        grads = gradients_of("cross", views, torch.tensor([[1]]), cross_gate="more_certain")
        by_modality = torch.stack(grads).unflatten(2, (2, 2))
        assert by_modality[:, :, 1 - sure].any() and not by_modality[:, :, sure].any()


@pytest.mark.parametrize("view", [0, 1])
def test_the_gate_is_that_of_the_teachers_view(view):
    views = certain(torch.rand(2, 1, 2, 4, 4))
    for m in (0, 1):
        (views.maps, views.maps_of_moved)[1 - view][:, 2 * m] += 200  # only in `view` is the tag found
    _, moved, of_moved = gradients_of("cross", views, torch.tensor([[1]]))
    assert bool(moved.any()) == (view == 1) and bool(of_moved.any()) == (view == 0)


def test_the_published_mean_switches_the_cross_term_off():
    cams = torch.rand(2, 1, 2, 240, 240, generator=torch.Generator().manual_seed(0))
    views, tags = certain(cams), torch.tensor([[1]])
    published, ours = (CrossModalityEquivarianceLoss(cross_reduction=how) for how in ("mean", "sum"))
    published(views, tags)
    ours(views, tags)
    assert published.terms["cross"] <= 2 * 2 / 240**2  # of two modalities
    assert published.terms["cross"] < 1e-3 * published.terms["within"] < ours.terms["cross"]
    torch.testing.assert_close(published.terms["cross"] * 240**2, ours.terms["cross"])
    cross, within = (
        torch.stack(gradients_of(term, views, tags, cross_reduction="mean")).norm()
        for term in ("cross", "within")
    )
    assert cross < 1e-3 * within
