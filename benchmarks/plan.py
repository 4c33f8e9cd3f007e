"""What a benchmark consists of: the rows of its YAML file, a job for each row and seed, and their folders."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Job:
    """One row of a benchmark with one seed.

    Attributes:
        benchmark: name of the benchmark, as in ``benchmarks/rows/NAME.yaml``.
        tier: name of the tier, such as ``cpu``.
        row: name of the row.
        seed: of weights, batches and augmentation.
        bundle: name of the bundle's folder; another one than the benchmark's if the row says so.
        prepare: words of the command that prepares the data, with ``{raw}`` and ``{out}`` to be filled in.
        overrides: configuration that differs from the bundle's, by id.
        mix_ins: names of the bundle's configurations that come after ``train.yaml``.
        trains: whether a network is trained; else the labels of the training set are scored themselves.
        control: name of a method without training in ``controls.py`` that is scored instead, or "".
        labels_of: name of the row whose networks made the labels that this one learns, or "".
        labels_bundle: name of the benchmark's own bundle, which made these labels.
        weights_of: name of the row whose networks this one evaluates in another way, or "".
    """

    benchmark: str
    tier: str
    row: str
    seed: int
    bundle: str
    prepare: tuple[str, ...]
    overrides: dict[str, Any] = field(hash=False)
    mix_ins: tuple[str, ...] = ()
    trains: bool = True
    control: str = ""
    labels_of: str = ""
    labels_bundle: str = ""
    weights_of: str = ""

    @property
    def result_file(self) -> Path:
        """Where the result goes, in the repository."""
        folder = REPOSITORY / "benchmarks" / "results" / f"{self.benchmark}_{self.tier}"
        return folder / f"{self.row}_seed{self.seed}.json"


def read_jobs(benchmark: str, tier: str) -> list[Job]:
    """The jobs of a benchmark's YAML file for one tier, those that carry the claim first.

    Raises:
        ValueError: if there is no such benchmark or tier.
    """
    file = REPOSITORY / "benchmarks" / "rows" / f"{benchmark}.yaml"
    if not file.is_file():
        names = sorted(f.stem for f in file.parent.glob("*.yaml"))
        raise ValueError(f"Expected a benchmark among {names}, got {benchmark!r}.")
    plan = yaml.safe_load(file.read_text(encoding="utf-8"))
    if tier not in plan["tiers"]:
        raise ValueError(f"Expected a tier among {sorted(plan['tiers'])}, got {tier!r}.")
    jobs = []
    for name, row in plan["rows"].items():
        overrides: dict[str, Any] = {}
        for part in [
            plan["tiers"][tier],
            *(plan["parts"][p] for p in row.get("parts", [])),
            row.get("config", {}),
        ]:
            overrides |= part
        prepare = (*plan["prepare"], *(str(word) for word in row["prepare"]))
        for seed in range(row.get("seeds", 1)):
            config = {**overrides, "seed": seed}
            names = ("trains", "control", "labels_of", "weights_of")
            special = {key: row[key] for key in names if key in row} | {"labels_bundle": plan["bundle"]}
            mix_ins = tuple(row.get("mix_ins", plan.get("mix_ins", [])))
            bundle = row.get("bundle", plan["bundle"])
            jobs.append(Job(benchmark, tier, name, seed, bundle, prepare, config, mix_ins, **special))
    return sorted(jobs, key=lambda job: job.seed)


def folder_of(prepare: tuple[str, ...], work: Path) -> Path:
    """Folder of the data that the command prepares, named after its options."""
    script, *options = [word for word in prepare if not word.startswith("{")]
    words = (word.strip("-").replace("/", "-") for word in options)
    return work / "data" / "_".join([Path(script).parent.name, *words])


def folder_of_run(row: str, job: Job, work: Path) -> Path:
    """Where the bundle of a row is trained, with the seed of the job."""
    return work / job.benchmark / job.tier / f"{row}_seed{job.seed}"
