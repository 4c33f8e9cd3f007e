"""Draw docs/images/overview.png: what each bundle reaches, between its lower and its upper bound."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import yaml
from matplotlib.axes import Axes
from table import REPOSITORY, read_results, scores

TIER = "cpu"
OURS, BOUND = "#2c7fb8", "#bdbdbd"


def draw_bars(axes: Axes, overview: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> None:
    """Mean Dice of the rows that a benchmark shows, with the standard deviation over its seeds.

    Rows between the first, the lower bound, and the last, the upper bound, have the color of our methods.

    Args:
        axes: where to draw.
        overview: ``title``, ``subject`` and ``bars``, each row's label, from the lower to the upper bound.
        rows: the results.
    """
    for y, (row, label) in enumerate(overview["bars"].items()):
        dice = scores(rows[row], "pred", "dice")
        mean, spread = statistics.mean(dice), statistics.stdev(dice) if len(dice) > 1 else 0
        color = OURS if 0 < y < len(overview["bars"]) - 1 else BOUND
        axes.barh(y, mean, xerr=spread, color=color, height=0.7, capsize=3, ecolor="#404040")
        axes.text(0.02, y, label, va="center", fontsize=9, color="white" if color == OURS else "black")
        axes.text(mean + spread + 0.02, y, f"{mean:.3f}", va="center", fontsize=9)
    axes.set(xlim=(0, 1.12), ylim=(len(overview["bars"]) - 0.45, -0.55), xlabel="Dice", yticks=[])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axes.set_title(f"{overview['title']}\n", fontsize=10, weight="bold")
    axes.text(0.5, 1.03, overview["subject"], transform=axes.transAxes, ha="center", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def write_overview(file: Path = REPOSITORY / "docs" / "images" / "overview.png") -> Path:
    """Draw one panel for each benchmark whose rows file has an ``overview``; return the picture's path."""
    plans = [
        (path.stem, yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted((REPOSITORY / "benchmarks" / "rows").glob("*.yaml"))
    ]
    shown = sorted(
        ((plan["overview"], name) for name, plan in plans if "overview" in plan),
        key=lambda panel: panel[0]["place"],
    )
    figure, axes = plt.subplots(
        1, len(shown), figsize=(3.6 * len(shown), 2.5), layout="constrained", squeeze=False
    )
    for panel, (overview, name) in zip(axes[0], shown, strict=True):
        draw_bars(panel, overview, read_results(REPOSITORY / "benchmarks" / "results" / f"{name}_{TIER}"))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)
    plt.close(figure)
    return file


if __name__ == "__main__":
    print(write_overview())
