"""`teacher-server doctor` with options that are right, on a ledger with one key; and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.support.migrated_ledger import new_ledger_file
from teacher_server.cli import main
from tests.teacher_server.ledger.conftest import postgres_dsn

__all__ = ["doctor", "ledger_file", "postgres_dsn"]

Doctor = Callable[..., tuple[int, dict[str, list[dict[str, str]]]]]


@pytest.fixture
def ledger_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A SQLite ledger with one key of 9 queries, and its pepper."""
    file = tmp_path / "vendor" / "ledger.db"
    new_ledger_file(file)
    create = ["keys", "create", "--name", "lab", "--budget", "9", "--database", f"sqlite:///{file}"]
    assert main(create) == 0
    capsys.readouterr()
    return file


@pytest.fixture
def doctor(ledger_file: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the command; returns its exit code and its findings by subject."""
    right = ["--port", "0", "--model", str(checkpoint), "--max-connections", "10"]
    right += ["--database", f"sqlite:///{ledger_file}", "--max-bytes-in-flight", "1000000"]

    def run(*more: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
        code = main(["doctor", "--json", *right, *more])
        found: dict[str, list[dict[str, str]]] = {}
        said = json.loads(capsys.readouterr().out)
        for finding in said["findings"]:
            found.setdefault(finding["subject"], []).append(finding)
        for level in ("error", "warning"):
            assert said[f"{level}s"] == sum(one["level"] == level for one in said["findings"])
        return code, found

    return run
