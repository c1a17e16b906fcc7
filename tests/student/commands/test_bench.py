"""`distill-client bench`: what it refuses, and its report where a run could not be trained."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from student.bench import runner
from student.bench.rows import add_row
from student.cli import main
from student.errors import TrainingError
from tests.support.measured_curves import FULL, row
from tests.support.pictures import write_domains


def test_auto_is_refused_with_the_methods_that_it_chooses_between(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_domains(tmp_path / "pets")
    assert main(["bench", "--data", str(data), "--method", "auto", "--dry-run"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "auto is a choice between erm and vl2v-adip-joint: name one of them" in said


def test_the_report_is_written_although_a_run_could_not_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_domains(tmp_path / "pets"), tmp_path / "bench"

    def fails(*_: object, **__: object) -> NoReturn:
        add_row(out / "rows.jsonl", row(FULL))
        message = "1 of 2 runs could not be trained"
        raise TrainingError(message)

    monkeypatch.setattr(runner, "run_grid", fails)
    monkeypatch.setenv("TEACHER_API_KEY", "rt_test")
    asked = ["bench", "--data", str(data), "--out", str(out), "--budget", "100"]
    assert main(asked) == TrainingError.exit_code
    assert "could not be trained" in capsys.readouterr().err
    assert (out / "bench.md").exists()
