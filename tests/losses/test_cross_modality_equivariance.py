import pytest
import torch

from monai_ext.inferers import TwoViews
from monai_ext.losses import CrossModalityEquivarianceLoss
from tests.losses.cross_modality import TAGS, by_hand, case, gradients, gradients_of


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("share", [0.2, 1])
@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_equals_the_written_formula(modalities, share, seed):
    views = case(modalities=modalities, seed=seed)
    expected = by_hand(views, TAGS[:, 0].tolist(), share, 3.0)
    loss = CrossModalityEquivarianceLoss(0.7, 0.4, 0.2, temperature=3, pool_share=share)
    total = loss(views, TAGS)
    assert {name: term.item() for name, term in loss.terms.items()} == pytest.approx(expected)
    weights = {"classification": 1, "within": 0.7, "cross": 0.4, "kl": 0.2}
    assert total.item() == pytest.approx(sum(w * expected[name] for name, w in weights.items()))
    assert modalities == 1 or min(expected.values()) > 0  # no term is checked at 0 only


def test_classification_and_within_term_have_the_gradient_of_their_formula():
    views = case(2, space=(3, 3))
    loss = CrossModalityEquivarianceLoss(lambda_cross=0, lambda_kl=0, pool_share=0.4)  # these stop gradients

    def value(*maps):
        return loss(TwoViews(*maps, views.valid), TAGS[:2])

    assert torch.autograd.gradcheck(value, [v.requires_grad_() for v in views[:3]])


@pytest.mark.parametrize("term", ["within", "cross"])
@pytest.mark.parametrize("tag", [0, 255])
def test_images_without_the_tag_have_no_part_in_the_terms_of_the_maps(term, tag):
    views = case()
    tags = torch.tensor([[1], [tag], [tag], [1]])
    grads = torch.stack(gradients_of(term, views, tags))
    assert grads[:, [0, 3]].any() and not grads[:, 1:3].any()
    loss = CrossModalityEquivarianceLoss()
    loss(views, tags)
    before = loss.terms[term]
    for maps in views[:3]:
        maps[1:3] = torch.rand_like(maps[1:3])
    loss(views, tags)
    assert loss.terms[term] == before > 0


@pytest.mark.parametrize("tags", [torch.zeros(4, 1).long(), torch.full((4, 1), 255)], ids=["no", "unknown"])
def test_a_batch_without_a_positive_image(tags):
    views = case()
    loss = CrossModalityEquivarianceLoss()
    assert loss(views, tags).isfinite()
    assert loss.terms["within"] == loss.terms["cross"] == 0
    assert (loss.terms["classification"] > 0) == bool((tags == 0).all())
    grads = torch.stack(gradients(views, tags, lambda_within=1, lambda_cross=1))
    assert grads.isfinite().all() and bool(grads.any()) == bool((tags == 0).all())


def test_unknown_tags_are_left_out_of_the_mean_of_the_cross_entropy():
    views = case()
    losses = [CrossModalityEquivarianceLoss() for _ in range(2)]
    losses[0](views, TAGS)
    known = [0, 1, 3]
    losses[1](TwoViews(*(v[known] for v in views)), TAGS[known])
    torch.testing.assert_close(losses[0].terms["classification"], losses[1].terms["classification"])
    assert not torch.stack(gradients(views, TAGS))[:, 2].any()


def test_one_modality_alone_has_no_other_to_agree_with():
    views = case(modalities=1)
    loss = CrossModalityEquivarianceLoss()
    value = loss(views, TAGS)
    assert loss.terms["cross"] == loss.terms["kl"] == 0
    torch.testing.assert_close(value, loss.terms["classification"] + loss.terms["within"])


def test_a_higher_share_lets_more_of_the_map_be_the_score():
    views = case()
    grads = [gradients(views, TAGS, pool_share=share)[0] for share in (0.05, 0.5, 1)]
    assert [int((g[0, 0] != 0).sum()) for g in grads] == [2, 12, 24]


def test_what_lies_outside_of_the_image_takes_no_part():
    views = case()
    views.valid[:, :, :2] = False
    loss = CrossModalityEquivarianceLoss(pool_share=1)
    first = loss(views, TAGS)
    views.moved_maps[:, :, :2] = 100.0
    torch.testing.assert_close(loss(views, TAGS), first, rtol=0, atol=0)
    assert not torch.stack(gradients(views, TAGS, lambda_within=1, lambda_cross=1))[1, :, :, :2].any()


@pytest.mark.parametrize("value", [0.0, 1e-20, 1e4, -1e4])
def test_empty_and_extreme_maps_have_finite_values_and_gradients(value):
    maps = value * torch.randn(2, 4, 4, 6).sign()
    views = TwoViews(maps, maps, maps.flip(3), torch.ones(2, 1, 4, 6, dtype=torch.bool))
    arguments = {"lambda_within": 1, "lambda_cross": 1, "lambda_kl": 1}
    assert CrossModalityEquivarianceLoss(**arguments)(views, TAGS[[0, 3]]).isfinite()
    assert torch.stack(gradients(views, TAGS[[0, 3]], **arguments)).isfinite().all()


def test_views_with_nothing_in_common_with_the_image_teach_the_tags_only():
    views = case()._replace(valid=torch.zeros(4, 1, 4, 6, dtype=torch.bool))
    loss = CrossModalityEquivarianceLoss()
    assert loss(views, TAGS).isfinite() and loss.terms["within"] == loss.terms["cross"] == 0


def test_terms_keep_no_graph():
    loss = CrossModalityEquivarianceLoss()
    views = TwoViews(*(v.requires_grad_() if v.dtype != torch.bool else v for v in case()))
    assert loss(views, TAGS).requires_grad
    assert not any(term.requires_grad for term in loss.terms.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_within": -1}, "lambda_within >= 0, got -1"),
        ({"lambda_cross": -0.5}, "lambda_cross >= 0, got -0.5"),
        ({"lambda_kl": -2}, "lambda_kl >= 0, got -2"),
        ({"temperature": 0}, "temperature > 0, got 0"),
        ({"pool_share": 0}, "0 < pool_share <= 1, got 0"),
        ({"pool_share": 1.5}, "0 < pool_share <= 1, got 1.5"),
        ({"cross_reduction": "none"}, "cross_reduction sum or mean, got 'none'"),
        ({"cross_gate": "all"}, "cross_gate found or more_certain, got 'all'"),
    ],
)
def test_says_which_argument_is_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossModalityEquivarianceLoss(**arguments)


@pytest.mark.parametrize(
    ("maps", "tags"),
    [((2, 3, 4, 4), (2, 1)), ((2, 4, 4, 4), (2, 2)), ((2, 4, 4, 4), (2,)), ((2, 4, 4), (2, 1))],
)
def test_says_which_shapes_it_expects(maps, tags):
    views = TwoViews(*[torch.zeros(maps)] * 3, torch.ones(1, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"score maps \(B, 2 M, H, W\) and tags \(B, 1\), got \(2, "):
        CrossModalityEquivarianceLoss()(views, torch.zeros(tags).long())
