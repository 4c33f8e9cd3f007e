"""The picture of all bundles' results."""

import statistics
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import overview

REPOSITORY = Path(__file__).resolve().parents[1]
PLANS = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in (REPOSITORY / "benchmarks" / "rows").glob("*.yaml")
}
SHOWN = [name for name, plan in PLANS.items() if "overview" in plan]


def rows_of(**dice):
    return {row: [{"summary": {"mean": {"dice": value}}} for value in values] for row, values in dice.items()}


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_a_bar_is_as_long_as_the_mean_and_its_error_bar_as_the_spread(axes):
    bars = {"a": "low", "b": "ours", "c": "high"}
    overview.draw_bars(
        axes, {"title": "t", "subject": "s", "bars": bars}, rows_of(a=[0.4, 0.6], b=[0.7], c=[0.9])
    )
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.5, 0.7, 0.9])
    (segment,) = axes.collections[0].get_segments()
    assert segment[1][0] - segment[0][0] == pytest.approx(2 * statistics.stdev([0.4, 0.6]))
    words = [text.get_text() for text in axes.texts]
    assert words[:6] == ["low", "0.500", "ours", "0.700", "high", "0.900"]


def test_only_methods_have_the_color_of_ours(axes):
    bars = {"a": "", "b": "", "c": "", "d": ""}
    overview.draw_bars(
        axes, {"title": "", "subject": "", "bars": bars}, rows_of(a=[0.1], b=[0.2], c=[0.3], d=[0.4])
    )
    colors = [bar.get_facecolor() for bar in axes.patches]
    assert colors[0] == colors[3] != colors[1] == colors[2]


@pytest.mark.parametrize("name", SHOWN)
def test_bars_go_from_the_lower_to_the_upper_bound_of_the_claims_about_their_methods(name):
    lower, *methods, upper = PLANS[name]["overview"]["bars"]
    claims = PLANS[name]["claim"]
    claimed = [claims] if isinstance(claims, dict) else claims
    assert all(
        (lower, method, upper) in [(c["lower"], c["method"], c["upper"]) for c in claimed]
        for method in methods
    )


def test_every_bundle_has_a_panel():
    folders = {folder.name for folder in (REPOSITORY / "bundles").iterdir() if (folder / "configs").is_dir()}
    assert {PLANS[name]["bundle"] for name in SHOWN} == folders


def test_the_picture_is_written(tmp_path):
    file = overview.write_overview(tmp_path / "new" / "overview.png")
    assert plt.imread(file).shape[1] > 1000
