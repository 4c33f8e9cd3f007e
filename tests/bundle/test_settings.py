import pytest

from monai_ext.bundle.settings import options_beside_modalities, order_doubt, stop_if_unfit
from monai_ext.errors import InputError

FITTING = {"modalities": ["t1", "flair"], "weights_of_modalities": [0, 1], "edges": 1, "threshold": 0.5}


def lines(**changes):
    """What it has against these settings; nothing if it accepts them."""
    try:
        stop_if_unfit(FITTING | changes)
    except InputError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weights_of_modalities": None},
        {"weights_of_modalities": (0.5, 0)},
        {"modalities": ("t1", "t2")},
        {"edges": 0},
        {"threshold": 1},
    ],
)
def test_settings_that_fit_pass(changes):
    assert lines(**changes) == []


def test_a_config_may_have_none_of_them():
    stop_if_unfit({})
    with pytest.raises(InputError, match="Expected 0 < threshold <= 1, got 2"):
        stop_if_unfit({"threshold": 2})


@pytest.mark.parametrize("weights", [[0, 1, 0], [1], [0, 0], [1, -1], [1, "a"], 1, "ab", [float("nan"), 1]])
def test_every_modality_needs_a_weight_and_one_of_them_above_0(weights):
    assert lines(weights_of_modalities=weights) == [
        "Expected weights_of_modalities with one number >= 0 for each of modalities (t1, flair), one of them "
        f'> 0, got {weights}; pass --weights_of_modalities, such as "[1, 1]" for equal weights.'
    ]


@pytest.mark.parametrize("edges", [2, -1, 0.5, "flair", None])
def test_edges_are_those_of_a_modality(edges):
    assert lines(edges=edges) == [
        "Expected edges from 0 to 1, the position of one of modalities (t1, flair), "
        f"got {edges}; pass --edges."
    ]


@pytest.mark.parametrize("threshold", [1.5, 0, -0.1, "high", None, float("nan")])
def test_a_threshold_lies_above_0_and_not_above_1(threshold):
    assert lines(threshold=threshold) == [f"Expected 0 < threshold <= 1, got {threshold}; pass --threshold."]


@pytest.mark.parametrize("names", ["t1", [], ["t1", "T1"], ["t1", ""], [1, 2], None, {"t1": 0}])
def test_modalities_are_different_names(names):
    (line,) = lines(modalities=names, edges=7)
    assert line.startswith(f"Expected modalities as a list of different names, got {names!r}; pass")


def test_every_problem_has_a_line():
    found = lines(modalities=["t1"], threshold=7)
    assert [line.split()[1] for line in found] == ["weights_of_modalities", "edges", "0"]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (FITTING, ", with --weights_of_modalities and --edges to match"),
        ({"modalities": ["t1"], "edges": 0}, ", with --edges to match"),
        ({"modalities": ["t1"]}, ""),
    ],
)
def test_only_options_that_the_config_has_go_with_the_modalities(ids, words):
    assert options_beside_modalities(ids) == words


@pytest.mark.parametrize("names", [["flair", "t1"], ["t1", "t2"]])
def test_a_list_of_modalities_other_than_that_of_the_weights_is_doubted(names):
    doubt = order_doubt({"modalities": names}, {"1": "flair", "0": "t1"})
    assert doubt is not None and "\n" not in doubt
    assert doubt.startswith(f"modalities are {', '.join(names)}, but") and "with t1, flair (metadata" in doubt


@pytest.mark.parametrize("names", [["t1", "flair"], ["T1", "FLAIR"], ["flair"], []])
def test_the_same_list_and_one_of_another_network_are_not_doubted(names):
    assert order_doubt({"modalities": names}, {"0": "t1", "1": "flair"}) is None
