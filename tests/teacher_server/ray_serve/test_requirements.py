"""`--serve-with ray` says what it lacks before it starts anything."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from teacher_server.cli import main
from teacher_server.errors import SettingsError
from teacher_server.ray_serve import requirements
from teacher_server.ray_serve.requirements import require_ray
from teacher_server.settings import load_settings
from tests.teacher_server.doctor.conftest import Doctor, doctor, ledger_file

__all__ = ["doctor", "ledger_file"]


@pytest.fixture
def is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda name: SimpleNamespace(name=name))


@pytest.fixture
def is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        requirements, "find_spec", lambda name: None if name == "ray" else find_spec(name)
    )


@pytest.mark.usefixtures("is_missing")
def test_without_the_extra_the_error_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    dsn = "postgresql://nobody@127.0.0.1:1/ledger"
    assert main(["serve", "--serve-with", "ray", "--database", dsn]) == 1
    assert "uv pip install 'rented-teacher[ray]'" in capsys.readouterr().err


@pytest.mark.usefixtures("is_installed")
def test_a_ledger_in_sqlite_is_refused_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = f"sqlite:///{tmp_path}/ledger.db"
    assert main(["serve", "--serve-with", "ray", "--database", dsn]) == 1
    assert "set TEACHER_DATABASE to postgresql://" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("is_installed")
def test_postgresql_with_the_extra_is_accepted() -> None:
    require_ray(load_settings({"serve_with": "ray", "database": "postgresql://vendor@db/ledger"}))


@pytest.mark.parametrize("kind", ["api", "encoder"])
def test_more_replicas_at_least_than_at_most_are_refused(kind: str) -> None:
    with pytest.raises(SettingsError, match=f"max_{kind}_replicas is 2, fewer than"):
        load_settings({f"min_{kind}_replicas": 3, f"max_{kind}_replicas": 2})


@pytest.mark.usefixtures("is_missing")
def test_the_doctor_finds_that_ray_serve_is_missing(doctor: Doctor) -> None:
    code, found = doctor("--serve-with", "ray")
    assert code == 1
    assert "rented-teacher[ray]" in found["serving"][0]["detail"]
    assert "serving" not in doctor()[1]
