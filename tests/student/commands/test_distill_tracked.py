"""Whole runs that are tracked."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from rich.console import Console

from student.commands import distill as command
from student.commands import distill_purchase
from student.console import Terminal, quiet
from student.errors import BadInput
from student.options import Options
from student.tracking.mlflow_run import MlflowRun
from tests.support.event_file import scalars
from tests.support.ledger_vendor import KEY, LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of
from tests.support.small_grid import settings

# MLflow's own tables use what SQLAlchemy means to remove.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload``")

QUERIES = 2 + 2 * 2 * 4  # two prompts; of two source domains and two classes, four of five images


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets")


def run(
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    *,
    vendor: LedgerVendor,
    terminal: Terminal | None = None,
) -> None:
    monkeypatch.setenv("TEACHER_API_KEY", KEY)
    monkeypatch.setattr(distill_purchase, "open_vendor", lambda *_, **__: client_of(vendor))
    command.run_distill(options, terminal or quiet(), command="distill-client")


def tracked_run() -> tuple[mlflow.MlflowClient, Run]:
    """The only run in the store that the environment names."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("rented-teacher")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def test_mlflow_tensorboard_and_the_curves_have_one_run_beside_what_it_cost(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    options = settings(pets, threads=1, target_domain=["d2"], track=["mlflow"])
    run(options, monkeypatch, vendor=LedgerVendor())
    out = options.run.out
    curves = [json.loads(line) for line in (out / "curves.jsonl").read_text().splitlines()]
    assert {(row["queries"], row["cost_micro_usd"]) for row in curves} == {(QUERIES, 1800)}
    client, tracked = tracked_run()
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["data"] == str(pets)
    scores = json.loads((out / "meta.json").read_text())["compared"]
    events = scalars(out / "tensorboard")
    for method, parts in scores.items():
        for part, score in parts.items():
            name = f"accuracy/{method}/{part}"
            assert round(tracked.data.metrics[name], 4) == score["accuracy"]
            assert round(events[name.replace(" ", "_")][0], 4) == score["accuracy"]
        rows = [row for row in curves if row["method"] == method]
        points = client.get_metric_history(tracked.info.run_id, f"validation_accuracy/{method}")
        assert [point.value for point in points] == [row["validation_accuracy"] for row in rows]
        assert len(events[f"loss/{method}"]) == len(rows)
    assert tracked.data.metrics["queries"] == QUERIES
    assert tracked.data.metrics["cost_usd"] == 0.0018
    assert KEY.encode() not in (tmp_path / "mlflow.db").read_bytes()


def test_a_tracker_that_fails_changes_no_student_and_is_in_the_report(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = LedgerVendor()
    alone = settings(pets, threads=1, target_domain=["d2"])
    run(alone, monkeypatch, vendor=vendor)
    weights = (alone.run.out / "student.safetensors").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def fail(*_: object) -> None:
        raise ConnectionError("the server is away")  # noqa: EM101 # an error of a library

    monkeypatch.setattr(MlflowRun, "log", fail)
    options = settings(
        pets, threads=1, target_domain=["d2"], track=["mlflow"], out=tmp_path / "tracked"
    )
    printed = StringIO()
    screen = Terminal(Console(file=printed, width=200))
    run(options, monkeypatch, vendor=vendor, terminal=screen)
    assert (options.run.out / "student.safetensors").read_bytes() == weights
    assert (
        "warning: mlflow failed and gets no more values: the server is away" in printed.getvalue()
    )
    for page in ("report.md", "report.html"):
        assert "values were not recorded there: the server is away" in (
            (options.run.out / page).read_text()
        )


def test_a_tracker_that_cannot_be_opened_is_refused_before_anything_is_bought(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{pets}/d0/c0/i0.png/mlflow.db")
    vendor = LedgerVendor()
    options = settings(pets, threads=1, target_domain=["d2"], track=["mlflow"])
    with pytest.raises(BadInput, match=r"--track mlflow cannot be opened: .*Nothing was bought"):
        run(options, monkeypatch, vendor=vendor)
    assert vendor.posts == []


def test_a_purchase_that_fails_leaves_a_failed_run(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    options = settings(pets, threads=1, target_domain=["d2"], track=["mlflow"], budget=1)
    with pytest.raises(Exception, match="this needs"):
        run(options, monkeypatch, vendor=LedgerVendor())
    _, tracked = tracked_run()
    assert tracked.info.status == "FAILED"


def test_a_dry_run_opens_no_tracker(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    options = settings(pets, threads=1, target_domain=["d2"], track=["mlflow"], dry_run=True)
    run(options, monkeypatch, vendor=LedgerVendor())
    assert not (tmp_path / "mlflow.db").exists()
    assert not (options.run.out / "tensorboard").exists()
