"""The ledger on both databases: each test in this folder that uses it runs on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.postgresql import Postgres, empty, running
from teacher_server.ledger.ledger import open_database
from tests.support.ledger_operations import OneKeyLedger, one_key_ledger


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests of this session."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Postgres) -> str:
    """The database that the tests of this session use one after another."""
    return postgres.database()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database at the newest schema, to copy: quicker than to migrate for each test."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    with open_database(f"sqlite:///{path}"):
        return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without rows: a SQLite file, then one on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path)
        return f"sqlite:///{tmp_path}/ledger.db"
    found: str = request.getfixturevalue("postgres_dsn")
    empty(found)
    return found


@pytest.fixture
def one_key(dsn: str) -> Iterator[OneKeyLedger]:
    """A ledger whose key has 10 units and whose leases last 60 seconds."""
    with one_key_ledger(dsn) as made:
        yield made
