"""What TensorBoard, MLflow and Weights & Biases find of a training."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from student.tracking.mlflow_run import MlflowRun
from student.tracking.tensorboard_events import TensorBoardEvents
from student.tracking.wandb_run import WandbRun
from tests.support.event_file import scalars

# MLflow's own tables use what SQLAlchemy means to remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload``")


def test_tensorboard_reads_the_values_of_the_last_run_alone(tmp_path: Path) -> None:
    for accuracy in (0.25, 0.5):
        events = TensorBoardEvents(tmp_path / "tensorboard")
        events.log({"validation_accuracy/erm": accuracy, "queries": 18}, 4)
        events.result({"accuracy/erm/d2": 0.75})
        events.close(failed=False)
    assert scalars(tmp_path / "tensorboard") == {
        "validation_accuracy/erm": {4: 0.5},
        "queries": {4: 18},
        "accuracy/erm/d2": {0: 0.75},
    }


def test_a_training_that_logs_nothing_writes_no_events(tmp_path: Path) -> None:
    TensorBoardEvents(tmp_path / "tensorboard").close(failed=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("failed", "status"), [(False, "FINISHED"), (True, "FAILED")])
def test_mlflow_has_the_run_in_the_store_of_its_environment(
    failed: bool, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    told = {f"option_{number}": number for number in range(150)} | {"long": "x" * 9000}
    made = MlflowRun("runs/student", told, experiment="theirs")
    made.log({"validation_accuracy/erm": 0.5, "queries": 18}, 4)
    made.result({"accuracy/erm/sketch (1)": 0.75})
    made.close(failed=failed)
    client = MlflowClient()
    found = client.get_experiment_by_name("mine")
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    assert run.info.status == status
    assert run.info.run_name == "runs/student"
    assert run.data.params["option_149"] == "149"
    assert len(run.data.params) == 151
    assert run.data.metrics == {
        "validation_accuracy/erm": 0.5,
        "queries": 18,
        "accuracy/erm/sketch _1_": 0.75,
    }
    (point,) = client.get_metric_history(run.info.run_id, "queries")
    assert (point.step, point.value) == (4, 18)


def test_weights_and_biases_keeps_the_run_offline_and_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("TEACHER_API_KEY", "rt_secret")
    monkeypatch.setattr(sys, "argv", ["distill-client", "--data", "private-folder"])
    made = WandbRun("runs/student", {"budget": 1234567}, project="rented-teacher")
    made.log({"validation_accuracy/erm": 0.53125, "queries": 18}, 4)
    made.result({"accuracy/erm/d2": 0.71875})
    made.close(failed=False)
    (stored,) = tmp_path.rglob("*.wandb")
    assert made.place == str(stored.parent / "files")
    kept = (b"validation_accuracy/erm", b"0.53125", b"0.71875", b"1234567", b"queries")
    # A process of W&B's own writes the file, and may still be at it when the run has ended.
    deadline = time.monotonic() + 60
    while missing := [word for word in kept if word not in stored.read_bytes()]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.1)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for private in (b"rt_secret", b"private-folder", b"requirements"):
        assert private not in written
