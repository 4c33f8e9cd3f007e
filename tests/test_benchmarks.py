"""The benchmarks' own arithmetic and bookkeeping; their runs take too long for a test."""

import inspect
import json
import sys
from pathlib import Path
from pydoc import locate

import pytest
import yaml
from monai.bundle import ConfigComponent, ConfigParser

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import accuracy
import jobs
import plan
import runs
import table


def result(row, seed, student, teacher=None):
    """What one job leaves behind, with these Dice values."""
    summary = {"unit": "voxel", "mean": {"dice": student, "hd95": 1.0}}
    if teacher is not None:
        summary["teacher"] = {"mean": {"dice": teacher, "hd95": 2.0}}
    return {"row": row, "seed": seed, "summary": summary, "duration_s": 90}


PLAN = {
    "claim": {"lower": "a", "upper": "b", "method": "c"},
    "rows": {
        "a": {"title": "low", "labels": "3"},
        "b": {"title": "high", "labels": "70"},
        "c": {"title": "ours", "labels": "3", "branches": {"pred": "student", "teacher": "teacher"}},
    },
}
ROWS = {
    "a": [result("a", 0, 0.5), result("a", 1, 0.6)],
    "b": [result("b", 0, 0.9), result("b", 1, 0.8)],
    "c": [result("c", 0, 0.81, 0.71), result("c", 1, 0.76, 0.70)],
}


def test_the_claim_is_computed_seed_by_seed():
    (_, line) = table.claim_lines(PLAN, ROWS)
    assert "reaches 0.925 ± 0.035 of the upper bound" in line  # 0.9 and 0.95
    assert "closes 0.79 ± 0.02 of the gap" in line  # 0.775 and 0.8
    assert "student is 0.080 ± 0.028 ahead" in line


def test_only_seeds_that_all_rows_have_are_compared():
    (_, line) = table.claim_lines(PLAN, {**ROWS, "b": ROWS["b"][:1]})
    assert line.startswith("Seeds: 1, paired. The method reaches 0.900 of")


def test_without_a_row_nothing_is_claimed():
    assert table.claim_lines(PLAN, {"a": ROWS["a"]}) == []
    assert table.claim_lines({"rows": PLAN["rows"]}, ROWS) == []


def test_the_table_has_a_line_for_each_branch():
    lines = table.table_lines(PLAN, ROWS)
    assert len(lines) == 2 + 4
    assert lines[-2] == "| student | 3 | 2 | 0.785 ± 0.035 | 1.0 ± 0.0 | 1.5 |"
    assert lines[-1].startswith("| teacher | 3 | 2 | 0.705")


@pytest.mark.parametrize(
    ("row", "seconds", "minutes"),
    [({}, [120, 240], "3.0"), ({}, [120, None], "2.0"), ({}, [None, None], table.DASH)]
    + [(row, [], table.DASH) for row in ({"weights_of": "b"}, {"control": "otsu"}, {"trains": False})],
)
def test_minutes_are_those_of_the_training(row, seconds, minutes):
    plan = {"rows": {"a": {**PLAN["rows"]["a"], **row}}}
    results = (
        [{**old, "training_s": s} for old, s in zip(ROWS["a"], seconds, strict=True)]
        if seconds
        else ROWS["a"]
    )
    assert table.table_lines(plan, {"a": results})[-1].endswith(f" 0.0 | {minutes} |")


@pytest.mark.parametrize(
    ("trained_by", "seconds"),
    [({}, 90), ({"trained_by_commit": "abc"}, 90), ({"trained_by_commit": "old"}, None)],
)
def test_an_evaluation_of_an_earlier_training_says_nothing_about_its_minutes(trained_by, seconds):
    assert table.seconds_of_training({"duration_s": 90, "commit": "abc", **trained_by}) == seconds


@pytest.mark.parametrize("name", [file.stem for file in (plan.REPOSITORY / "benchmarks" / "rows").glob("*")])
def test_every_row_trains_as_long_as_the_others_on_one_backbone(name):
    planned = plan.read_jobs(name, "cpu")
    for key in ("train::trainer::max_epochs", "train::dataloader::batches_per_epoch"):
        assert len({job.overrides[key] for job in planned}) == 1
    assert all("channels" not in job.overrides and "batch_size" not in str(job.overrides) for job in planned)
    assert len({(job.row, job.seed) for job in planned}) == len(planned)


def unknown_ids(planned):
    """Ids of a benchmark's overrides that the configuration of their row lacks."""
    unknown = set()
    for bundle, mix_ins in {(job.bundle, job.mix_ins) for job in planned}:
        parser = ConfigParser()
        configs = plan.REPOSITORY / "bundles" / bundle / "configs"
        parser.read_config([str(configs / f"{name}.yaml") for name in ("train", *mix_ins, "evaluate")])
        same = [job for job in planned if (job.bundle, job.mix_ins) == (bundle, mix_ins)]
        ids = {key for job in same for key in job.overrides}
        unknown |= {key for key in ids if key not in parser and not is_left_at_its_default(key, parser)}
    return unknown


def is_left_at_its_default(key, parser):
    """Whether an id is an argument of an object's constructor that the configuration does not give."""
    owner, _, argument = key.rpartition("::")
    if owner not in parser or not ConfigComponent.is_instantiable(parser[owner]):
        return False
    constructor = locate(ConfigComponent(parser[owner]).resolve_module_name())
    return constructor is not None and argument in inspect.signature(constructor).parameters


@pytest.mark.parametrize("name", [file.stem for file in (plan.REPOSITORY / "benchmarks" / "rows").glob("*")])
def test_rows_override_what_the_bundle_has(name):
    """A mistyped id would be accepted without a word and change nothing."""
    assert unknown_ids(plan.read_jobs(name, "full")) == set()


def test_every_part_of_an_id_must_be_spelled_right():
    right = ["loss::lambda_kd", "loss::coupling", "train::dataset::transform"]
    wrong = ["loss::lambda_kt", "los::coupling", "train::dataloder", "seeed", "seed::seed"]
    bundle = "lv_mixed_supervision_segmentation"
    planned = [plan.Job("lv", "cpu", "a", 0, bundle, (), dict.fromkeys(right + wrong, 0))]
    assert unknown_ids(planned) == set(wrong)


@pytest.mark.parametrize("name", [file.stem for file in (plan.REPOSITORY / "benchmarks" / "rows").glob("*")])
def test_only_a_row_that_says_so_selects_an_epoch(name):
    content = yaml.safe_load((plan.REPOSITORY / "benchmarks" / "rows" / f"{name}.yaml").read_text())
    for job in plan.read_jobs(name, "cpu"):
        last_only = job.overrides["val_interval"] == job.overrides["train::trainer::max_epochs"]
        assert last_only != ("best epoch by clean validation" in content["rows"][job.row]["title"])


def test_rows_that_carry_the_claim_have_three_seeds():
    seeds = [job.seed for job in plan.read_jobs("lv", "cpu") if job.row == "method_3"]
    assert seeds == [0, 1, 2]


def test_says_which_benchmarks_and_tiers_there_are():
    with pytest.raises(ValueError, match=r"benchmark among \['cam', 'lv'.*\], got 'brain'"):
        plan.read_jobs("brain", "cpu")
    with pytest.raises(ValueError, match=r"tier among \['cpu', 'full'\], got 'tiny'"):
        plan.read_jobs("lv", "tiny")


def test_finished_jobs_are_skipped_and_failures_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "REPOSITORY", tmp_path)
    done, failing, fine = (plan.Job("x", "cpu", row, 0, "bundle", ("p.py",), {}) for row in "abc")
    done.result_file.parent.mkdir(parents=True)
    done.result_file.write_text(json.dumps({}))
    run = []
    monkeypatch.setattr(jobs, "prepare_data", lambda *args: None)
    monkeypatch.setattr(
        jobs, "run_job", lambda job, *args: run.append(job.row) or (tmp_path if job is failing else None)
    )
    assert jobs.run_jobs([done, failing, fine], tmp_path, tmp_path) == [failing]
    assert sorted(run) == ["b", "c"]


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Commands that a job would have run in the repository ``tmp_path``, with a small bundle."""
    monkeypatch.setattr(runs, "REPOSITORY", tmp_path)
    configs = tmp_path / "bundles" / "bundle" / "configs"
    configs.mkdir(parents=True)
    for name in ("train", "more"):
        (configs / f"{name}.yaml").write_text("steps: 1")
    run = []
    monkeypatch.setattr(runs, "run_commands", lambda given, folder, log: run.extend(given))
    return run


def job(row, **options):
    return plan.Job("x", "cpu", row, 0, "bundle", ("p.py",), {"seed": 0}, **options)


def test_a_finished_training_is_evaluated_again_but_not_repeated(commands, tmp_path):
    for _ in range(2):
        runs.train_and_evaluate(job("a"), tmp_path, tmp_path / "work" / "a_seed0")
    assert ["evaluate" in str(words) for words in commands] == [False, True, True]


def test_with_other_options_a_training_is_repeated(commands, tmp_path):
    for mix_ins in ((), ("more",)):
        runs.train_and_evaluate(job("a", mix_ins=mix_ins), tmp_path, tmp_path / "work" / "a_seed0")
    assert ["evaluate" in str(words) for words in commands] == [False, True, False, True]


@pytest.mark.parametrize(("file", "mix_ins"), [("train", ()), ("more", ("more",))])
def test_with_another_configuration_file_a_training_is_repeated(commands, tmp_path, file, mix_ins):
    for steps in (1, 1, 2):
        (tmp_path / "bundles" / "bundle" / "configs" / f"{file}.yaml").write_text(f"steps: {steps}")
        runs.train_and_evaluate(job("a", mix_ins=mix_ins), tmp_path, tmp_path / "work" / "a_seed0")
    assert ["evaluate" in str(words) for words in commands] == [False, True, True, False, True]


@pytest.mark.parametrize(("labels_of", "trainings"), [("", 1), ("teacher", 2)])
def test_with_other_labels_of_another_row_a_training_is_repeated(commands, tmp_path, labels_of, trainings):
    for digest in "aab":
        (tmp_path / "datalist.json").write_text(json.dumps({"training": [{"label_sha256": digest}]}))
        runs.train_and_evaluate(job("a", labels_of=labels_of), tmp_path, tmp_path / "work" / "a_seed0")
    assert sum("evaluate" not in str(words) for words in commands) == trainings


@pytest.mark.parametrize(("seed", "trainings"), [(0, 0), (1, 1)])
def test_a_training_recorded_without_a_digest_counts_if_its_options_are_equal(
    commands, tmp_path, seed, trainings
):
    root = tmp_path / "work" / "a_seed0"
    root.mkdir(parents=True)
    (root / "trained.json").write_text(json.dumps({"commit": "abc", "options": [[], {"seed": seed}]}))
    runs.train_and_evaluate(job("a"), tmp_path, root)
    assert sum("evaluate" not in str(words) for words in commands) == trainings


def test_a_result_says_who_trained_its_networks_and_for_how_long(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "commit", lambda: "abc")
    runs.train_and_evaluate(job("a"), tmp_path, tmp_path / "x" / "cpu" / "a_seed0")
    assert jobs.training_of(job("a"), tmp_path) == {"trained_by_commit": "abc", "training_s": 0}
    assert jobs.training_of(job("b", weights_of="a"), tmp_path) == {"trained_by_commit": "abc"}
    assert jobs.training_of(job("c", trains=False), tmp_path) == {}


def test_labels_are_predicted_by_the_teacher_and_then_made_into_a_data_set(commands, tmp_path):
    data, teacher, out = (tmp_path / name for name in ("data", "teacher", "taught"))
    out.mkdir()
    (teacher / "eval").mkdir(parents=True)
    (teacher / "eval" / "thresholds.json").write_text(json.dumps({"pred": {"best": 0.35}}))
    runs.make_labels(job("b", labels_of="a", labels_bundle="bundle"), data, teacher, out)
    predict, make = commands
    configs = tmp_path / "bundles" / "bundle" / "configs"
    given = [configs / "train.yaml", teacher / "configs" / "row.yaml", configs / "pseudo_labels.yaml"]
    assert predict[3] == str([str(file) for file in given])
    assert predict[4:] == ["--dataset_dir", str(data), "--threshold", "0.35"]
    made = ["--predictions", str(teacher / "eval" / "pseudo_labels"), "--out", str(out)]
    assert make == ["monai_ext", "pseudo-labels", str(data), *made]
    assert not out.exists()


def test_the_networks_of_another_row_are_evaluated_without_a_training(commands, tmp_path):
    runs.train_and_evaluate(job("b", weights_of="a"), tmp_path, tmp_path / "work" / "b_seed0")
    [words] = commands
    assert words[-2:] == ["--weights", str(tmp_path / "work" / "a_seed0" / "models" / "model.pt")]


def test_what_needs_another_row_runs_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "prepare_data", lambda *args: None)
    run = []
    monkeypatch.setattr(jobs, "run_job", lambda job, *args: run.append(job.row))
    monkeypatch.setattr(plan, "REPOSITORY", tmp_path)
    planned = [job("b", weights_of="a"), job("c", labels_of="a"), job("a"), job("d")]
    jobs.run_jobs(planned, tmp_path, tmp_path, 1)
    assert run == ["a", "d", "b", "c"]


@pytest.mark.parametrize("name", [file.stem for file in (plan.REPOSITORY / "benchmarks" / "rows").glob("*")])
def test_a_row_needs_rows_that_are_trained_with_its_seeds(name):
    planned = plan.read_jobs(name, "cpu")
    trained = {(job.row, job.seed) for job in planned if job.trains and not (job.control or job.weights_of)}
    needed = {(row, job.seed) for job in planned for row in (job.labels_of, job.weights_of) if row}
    assert needed <= trained


def test_data_are_prepared_in_a_folder_named_after_the_options(tmp_path):
    words = ("datasets/acdc/prepare.py", "--raw", "{raw}/acdc", "--out", "{out}", "--split", "80/20/0")
    assert plan.folder_of(words, tmp_path) == tmp_path / "data" / "acdc_raw_out_split_80-20-0"


def test_without_a_folder_of_real_data_the_line_says_what_to_set(monkeypatch):
    monkeypatch.delenv("SCARCE_DATA_ROOT", raising=False)
    with pytest.raises(
        SystemExit, match="Expected the folder of the real data, got none; set SCARCE_DATA_ROOT"
    ):
        accuracy.main("lv")
