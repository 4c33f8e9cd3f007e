"""Write docs/results.md, and a picture for each benchmark, from the results in benchmarks/results."""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DASH = "\N{EN DASH}"
HEADER = """# Results

Made by `benchmarks/table.py` from the files in `benchmarks/results/`; do not edit. Each table names the
command that made it. Rows that train the same network have the same number of steps and batch size; what
differs is said in the row's title or above the table. Scores are means over whole volumes of the validation
patients, by the weights of the last epoch, so no epoch was selected on them. ± is the standard deviation over
seeds, which vary weights, batches and augmentation; the patients are the same. Minutes are those of the row's
own training, with the evaluation where they were not measured apart, on two cores that other rows used at the
same time: they tell orders of magnitude. A dash is for none or unknown.
"""


def read_results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Results by row, seeds in order."""
    rows = defaultdict(list)
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        rows[result["row"]].append(result)
    return rows


def scores(results: list[dict[str, Any]], branch: str, metric: str) -> list[float]:
    """The metric of the student's (``"pred"``) or another prediction, one value a seed."""
    parts = [r["summary"] if branch == "pred" else r["summary"][branch] for r in results]
    return [part["mean"][metric] for part in parts]


def spread(values: list[float], digits: int) -> str:
    """Mean, with the standard deviation where there are several values."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def table_lines(plan: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The Markdown table of one benchmark."""
    unit = next(iter(rows.values()))[0]["summary"]["unit"]
    lines = [f"| row | labels | seeds | Dice | HD95 ({unit}) | minutes a run |", "|---|---|---|---|---|---|"]
    for name, row in plan["rows"].items():
        results = rows.get(name)
        if not results:
            continue
        minutes = minutes_of_training(row, results)
        for branch, label in row.get("branches", {"pred": row["title"]}).items():
            dice, distance = (scores(results, branch, metric) for metric in ("dice", "hd95"))
            lines.append(
                f"| {label} | {row['labels']} | {len(results)} | {spread(dice, 3)} | {spread(distance, 1)} "
                f"| {minutes} |"
            )
    return lines


def minutes_of_training(row: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """Mean minutes of the row's training, or a dash if none is known."""
    if "weights_of" in row or "control" in row or not row.get("trains", True):
        return DASH
    known = [seconds for result in results if (seconds := seconds_of_training(result)) is not None]
    return f"{statistics.mean(known) / 60:.1f}" if known else DASH


def seconds_of_training(result: dict[str, Any]) -> float | None:
    """``training_s``; without it the whole duration, unless the training was that of an earlier result."""
    trained_now = result.get("trained_by_commit") in (None, result.get("commit"))
    return result.get("training_s", result["duration_s"] if trained_now else None)


def claim_lines(plan: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What the method reaches of the upper bound, of the gap to it, and beyond its teacher, seed by seed."""
    claims = plan.get("claim", [])
    return [
        line
        for claim in ([claims] if isinstance(claims, dict) else claims)
        for line in one_claim(claim, rows)
    ]


def one_claim(claim: dict[str, str], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The lines of one claim; none without results."""
    names = ("lower", "upper", "method")
    parts = {part: {r["seed"]: r["summary"] for r in rows.get(claim[part], [])} for part in names}
    seeds = sorted(set.intersection(*map(set, parts.values())))
    if not seeds:
        return []
    ratios, gaps, lead = [], [], []
    for seed in seeds:
        lower, upper, method = (parts[part][seed]["mean"]["dice"] for part in names)
        ratios.append(method / upper)
        gaps.append((method - lower) / (upper - lower))
        teacher = parts["method"][seed].get("teacher")
        lead += [method - teacher["mean"]["dice"]] if teacher else []
    text = (
        f"Seeds: {len(seeds)}, paired. The method reaches {spread(ratios, 3)} of the upper bound and "
        f"closes {spread(gaps, 2)} of the gap between lower and upper bound."
    )
    title = f"{claim['title']}. " if "title" in claim else ""
    return ["", title + text + (f" The student is {spread(lead, 3)} ahead of its teacher." if lead else "")]


def ranking_lines(plan: dict[str, Any], rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """How well each ranked list finds the wrong labels, where some are wrong and some are not."""
    lines = []
    for name, row in plan["rows"].items():
        found = [r["ranking"] for r in rows.get(name, []) if r.get("ranking", {}).get("average_precision")]
        if found:
            values = [r["average_precision"] for r in found]
            counts = f"{found[0]['wrong']} of {found[0]['cases']} labels are wrong"
            text = f"{row['title']}: {counts}; the ranked list finds them with average precision"
            lines += ["", f"{text} {spread(values, 3)}."]
    return lines


def speed_lines(folder: Path) -> list[str]:
    """The section on speed, from the results of benchmarks/speed.py."""
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("speed_*.json"))]
    if not results:
        return []
    lines = [
        "",
        "## Speed of a training step",
        "",
        "The bundle's step beside the bare network step and, where the method runs a network several times, "
        "beside the same training without the method; in turns in one run.",
        "",
    ]
    lines += [
        "| bundle | ms a step | bare network, ms | ratio | ratio to plain training | command | machine |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        ms = r["median_ms_per_step"]
        ratios = [r["ratio"], r.get("ratio_to_plain", "")]
        cells = [r["bundle"], ms["bundle"], ms["bare"], *ratios, f"`{r['command']}`", r["machine"]]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if (file := folder / "correction_pass.json").is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        ms = found["ms_per_case"]
        lines += [
            "",
            f"A correction pass of {found['bundle']} takes {found['ratio']} times as long as an "
            f"evaluation of as many cases ({ms['correction']} and {ms['evaluation']} ms a case; "
            f"`{found['command']}`; {found['machine']}).",
        ]
    return lines


def picture(plan: dict[str, Any], rows: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """Dice of every row, a dot a seed."""
    entries = [
        (label, scores(rows[name], branch, "dice"))
        for name, row in plan["rows"].items()
        if name in rows
        for branch, label in row.get("branches", {"pred": row["title"]}).items()
    ]
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * len(entries)), layout="constrained")
    for y, (_, values) in enumerate(entries):
        axes.plot(values, [y] * len(values), "o", color="C0", alpha=0.6)
        axes.plot(statistics.mean(values), y, "|", color="k", markersize=14)
    axes.set_yticks(range(len(entries)), [label for label, _ in entries])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("mean 3D Dice on validation patients")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def patient_lines(results: list[dict[str, Any]]) -> list[str]:
    """Patient numbers of every part of the data of a row."""
    numbers = {
        part: ", ".join(p.removeprefix("patient") for p in ids)
        for part, ids in results[0]["patients"].items()
    }
    return [f"- {part}: {ids}" for part, ids in numbers.items()]


def benchmark_lines(folder: Path) -> list[str]:
    """The section of one benchmark and tier; also draws its picture."""
    benchmark, tier = folder.name.rsplit("_", 1)
    plan = yaml.safe_load(
        (REPOSITORY / "benchmarks" / "rows" / f"{benchmark}.yaml").read_text(encoding="utf-8")
    )
    rows = read_results(folder)
    image = REPOSITORY / "docs" / "images" / f"results_{folder.name}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    picture(plan, rows, image)
    some = next(iter(rows.values()))[0]
    lines = [
        "",
        f"## {plan['title']}, tier {tier}",
        "",
        plan["about"].strip(),
        "",
        f"Command: `{some['command']}`",
        "",
    ]
    lines += table_lines(plan, rows) + claim_lines(plan, rows) + ranking_lines(plan, rows)
    lines += ["", f"![Dice of every row](images/{image.name})", ""]
    for name in plan.get("publish_patients", []):
        if name in rows:
            lines += [f'Patients of "{plan["rows"][name]["title"]}":', "", *patient_lines(rows[name]), ""]
    return lines


def write_page() -> Path:
    """Write docs/results.md from all results."""
    lines = [HEADER.strip()]
    results = REPOSITORY / "benchmarks" / "results"
    for folder in sorted(results.glob("*/")):
        if any(folder.glob("*.json")):
            lines += benchmark_lines(folder)
    lines += speed_lines(results)
    page = REPOSITORY / "docs" / "results.md"
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


if __name__ == "__main__":
    write_page()
