"""The ledger on both databases: each test in this folder that uses it runs on both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.support.migrated_ledger import new_ledger_file
from benchmarks.support.postgresql import Postgres, empty
from tests.support.ledger_operations import OneKeyLedger, one_key_ledger


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Postgres) -> str:
    """The database that the tests of a folder use one after another."""
    return postgres.database()


@pytest.fixture(params=["sqlite", "postgresql"])
def dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without rows: a SQLite file, then one on PostgreSQL."""
    if request.param == "sqlite":
        new_ledger_file(tmp_path / "ledger.db")
        return f"sqlite:///{tmp_path}/ledger.db"
    found: str = request.getfixturevalue("postgres_dsn")
    empty(found)
    return found


@pytest.fixture
def one_key(dsn: str) -> Iterator[OneKeyLedger]:
    """A ledger whose key has 10 units and whose leases last 60 seconds."""
    with one_key_ledger(dsn) as made:
        yield made
