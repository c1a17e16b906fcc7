"""Shared budgets in SQLite, and in PostgreSQL where a test asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.support.postgresql import Postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "budget.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.bare_database()
