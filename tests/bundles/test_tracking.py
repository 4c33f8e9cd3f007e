"""`--tracking mlflow` of MONAI on every bundle: with a stand-in of MLflow and, where installed, with it."""

import subprocess
import sys
from unittest.mock import MagicMock

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: a config is code

LEARNING_RATE, LOSS, SCORE = "lr_group_0", "train_loss", "val_mean_dice"


@pytest.fixture
def recorded(monkeypatch):
    """Values by metric and step that MONAI's handlers hand to MLflow, which here only takes numbers."""
    metrics = {}

    def metric(key, value, timestamp, step):
        metrics.setdefault(key, {})[step] = float(value)

    mlflow = MagicMock()
    mlflow.entities.Metric = metric
    experiment = mlflow.MlflowClient.return_value.get_experiment_by_name.return_value
    experiment.lifecycle_stage = mlflow.entities.LifecycleStage.ACTIVE
    monkeypatch.setattr("monai.handlers.mlflow_handler.mlflow", mlflow)
    return metrics


def test_the_flag_of_monai_tracks_loss_and_validation(bundle, tiny, recorded):
    bundle.run("train", epochs=2, tracking="mlflow")
    iterations = list(range(1, bundle.load("training/checkpoint.pt")["iteration"] + 1))
    assert list(recorded[LOSS]) == list(recorded[LEARNING_RATE]) == iterations
    assert recorded[tiny.selected_by] == {2: pytest.approx(bundle.load("training/checkpoint.pt")["best"])}


def test_the_flag_of_monai_tracks_an_evaluation(trained, recorded, tmp_path):
    trained.run("evaluate", tracking="mlflow", output_dir=str(tmp_path))
    assert SCORE in recorded and LOSS not in recorded


READ_STORE = """
import sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
[experiment] = [e for e in client.search_experiments() if e.name == "monai_experiment"]
for run in client.search_runs([experiment.experiment_id]):
    print(run.info.run_name, *sorted(run.data.params), *sorted(run.data.metrics))
"""


@pytest.mark.slow
def test_every_command_runs_with_mlflow_and_leaves_its_numbers_in_the_store(bundle, tiny, data, tmp_path):
    reason = "MLflow is not installed: pip install -e '.[mlflow]' -c constraints.txt"
    pytest.importorskip("mlflow.store.tracking.sqlalchemy_store", reason=reason)  # mlflow-skinny has no store
    images = {"input": str(data / "images"), "output_dir": str(tmp_path / "out")}
    for what, options in {"train": {}, "evaluate": {}, "infer": images}.items():
        done = bundle.command(what, tracking="mlflow", run_name=what, **options)
        assert done.returncode == 0, done.stderr
    words = {}
    for folder in (bundle.root / "eval", tmp_path / "out"):
        store = [sys.executable, "-c", READ_STORE, f"sqlite:///{folder}/mlruns.db"]
        lines = subprocess.run(store, capture_output=True, text=True, check=True).stdout.splitlines()
        words |= {line.split()[0]: set(line.split()[1:]) for line in lines}
    assert words["train"] >= {"epoch_length", "max_epochs", LEARNING_RATE, LOSS, tiny.selected_by}
    assert SCORE in words["evaluate"] and LOSS not in words["evaluate"]
    assert "epoch_length" in words["infer"]
