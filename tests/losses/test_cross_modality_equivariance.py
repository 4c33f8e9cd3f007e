import math

import numpy as np
import pytest
import torch

from monai_ext.inferers import TwoViews
from monai_ext.losses import CrossModalityEquivarianceLoss

ALL_OFF = {"lambda_within": 0, "lambda_cross": 0, "lambda_kl": 0}
TAGS = torch.tensor([[1], [0], [255], [1]])


def case(batch=4, modalities=2, space=(4, 6), seed=0):
    """Score maps of two views that have nothing to do with each other; a column is not valid."""
    generator = torch.Generator().manual_seed(seed)
    size = (3, batch, 2 * modalities, *space)
    maps, moved, of_moved = torch.randn(size, generator=generator, dtype=torch.float64)
    valid = torch.ones(batch, 1, *space, dtype=torch.bool)
    valid[0, :, :, -1] = False
    return TwoViews(maps, moved, of_moved, valid)


def certain(cams, found=True):
    """Views in which the activation maps (2, B, M, H, W) are given and the classifiers are certain."""
    background = cams - 100 if found else cams + 100
    first, second = torch.stack((background, cams), dim=3).flatten(2, 3)
    return TwoViews(first, first, second, torch.ones_like(first[:, :1], dtype=torch.bool))


def pooled(maps, share):
    """Scores [modality][class] of one image."""
    highest = [np.sort(m.ravel())[::-1][: math.ceil(share * m.size)] for m in maps]
    return np.array([h.mean() for h in highest]).reshape(-1, 2)


def log_softmax(z):
    return z - np.log(np.exp(z).sum())


def unit_range(c):
    return np.maximum(0, c - c.min() - 1e-8) / (c.max() - c.min() + 1e-8)


def unit_norm(c):
    return c / max(np.sqrt((c**2).sum()), 1e-8)


def by_hand(views, tags, share, tau, mean=False, gate="found"):
    """The four terms as written: loops over images, modalities and views."""
    maps, moved, of_moved, valid = (v.double().numpy() for v in views)
    batch, modalities = len(maps), maps.shape[1] // 2
    known = sum(tag != 255 for tag in tags)
    terms = dict.fromkeys(("classification", "within", "cross", "kl"), 0.0)
    for b, tag in enumerate(tags):
        s = [pooled(m[b], share) for m in (maps, of_moved)]
        c = [np.maximum(0, m[b, 1::2]) * valid[b] for m in (moved, of_moved)]
        for i in range(modalities):
            if tag != 255:
                terms["classification"] -= sum(log_softmax(s[v][i])[tag] for v in (0, 1)) / 2 / known
            if tag == 1:
                error = (unit_range(c[0][i]) - unit_range(c[1][i])) ** 2 * valid[b, 0]
                terms["within"] += error.sum() / valid[b].sum() / batch
            for j in {*range(modalities)} - {i}:
                for own, other in ((0, 1), (1, 0)):
                    ahead = s[other][:, 1] - s[other][:, 0]
                    if tag == 1 and ahead[j] > 0 and (gate == "found" or ahead[j] > ahead[i]):
                        error = (unit_norm(c[own][i]) - unit_norm(c[other][j])) ** 2
                        distance = error.mean() if mean else error.sum()
                        terms["cross"] += distance / 2 / (modalities - 1) / batch
                    q, p = log_softmax(s[own][j] / tau), log_softmax(s[own][i] / tau)
                    terms["kl"] += tau**2 * (np.exp(q) * (q - p)).sum() / 2 / (modalities - 1) / batch
    return terms


def gradients(views, tags, **arguments):
    """Of a loss to the three kinds of maps."""
    leaves = [v.detach().clone().requires_grad_() for v in views[:3]]
    loss = CrossModalityEquivarianceLoss(**{**ALL_OFF, **arguments})(TwoViews(*leaves, views.valid), tags)
    loss.backward()
    return [torch.zeros_like(v) if v.grad is None else v.grad for v in leaves]


def gradients_of(term, views, tags, **arguments):
    """Of one weighted term alone."""
    with_term = gradients(views, tags, **arguments, **{f"lambda_{term}": 1})
    without = gradients(views, tags, **arguments)
    return [a - b for a, b in zip(with_term, without, strict=True)]


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


def test_classification_and_within_term_have_the_gradient_of_their_formula():
    views = case(2, space=(3, 3))
    loss = CrossModalityEquivarianceLoss(lambda_cross=0, lambda_kl=0, pool_share=0.4)  # these stop gradients

    def value(*maps):
        return loss(TwoViews(*maps, views.valid), TAGS[:2])

    assert torch.autograd.gradcheck(value, [v.requires_grad_() for v in views[:3]])


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


def constant_scores(first, second):
    """Views of score maps (1, 4, 2, 2) that are constant: pooled scores are what is given."""
    scores = torch.tensor([*first, *second], dtype=torch.float64)[None, :, None, None].expand(1, 4, 2, 2)
    return TwoViews(scores, scores, scores, torch.ones(1, 1, 2, 2, dtype=torch.bool))


@pytest.mark.parametrize("offset", [0.0, 7.0])
def test_modalities_that_are_equally_certain_have_no_divergence(offset):
    views = constant_scores((0.3, -2.0), (0.3 + offset, -2.0 + offset))
    loss = CrossModalityEquivarianceLoss()
    loss(views, TAGS[:1])
    assert loss.terms["kl"].item() == pytest.approx(0, abs=1e-12)
    assert torch.stack(gradients_of("kl", views, TAGS[:1])).abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.5, 10.0, 1e4])
def test_divergence_pulls_scores_together_and_does_not_move_the_teacher(temperature):
    views = constant_scores((1.0, -2.0), (0.5, 3.0))
    own, _, _ = gradients_of("kl", views, TAGS[:1], temperature=temperature, pool_share=1)
    s = np.array([[1.0, -2.0], [0.5, 3.0]])
    p = np.exp([log_softmax(z / temperature) for z in s])
    found = own.sum(dim=(2, 3)).reshape(2, 2).numpy()
    expected = 0.5 * temperature * np.array([p[0] - p[1], p[1] - p[0]])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    if temperature == 1e4:  # the limit: half of the difference of the scores, less their means
        centered = s - s.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(found[0], 0.5 * (centered[0] - centered[1]) / 2, rtol=1e-3)


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
