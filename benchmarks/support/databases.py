"""Empty databases for a benchmark, and the ledger in one as a server opens it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from benchmarks.support.pgbouncer import pooled
from benchmarks.support.postgresql import running
from teacher_server.ledger.ledger import Ledger, open_database
from teacher_server.ledger.ledger import open_ledger as open_vendor_ledger

# A vendor keeps one for its lock, and one that was killed until the pooler notices.
_POOLED_SESSIONS = 16


@contextmanager
def empty_database(
    kind: str, folder: Path, *, is_pooled: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the DSN of an empty database ("sqlite" or "postgresql") and its vendor settings.

    SQLite's file lies in `folder`. A PostgreSQL server runs until the block ends; its ledger needs
    the pepper that the settings hold. `is_pooled` puts PgBouncer before it.
    """
    if kind == "sqlite":
        yield f"sqlite:///{folder}/ledger.db", {}
        return
    with running() as server, ExitStack() as stack:
        dsn = server.database()
        if is_pooled:
            dsn = stack.enter_context(pooled(dsn, sessions=_POOLED_SESSIONS))
        yield dsn, {"pepper": secrets.token_hex(32)}


@contextmanager
def open_ledger(
    dsn: str, settings: dict[str, Any], *, lease_seconds: int = 60
) -> Iterator[tuple[Engine, Ledger]]:
    """Open the ledger with the pepper of the settings, as a server does."""
    with (
        open_database(dsn) as engine,
        open_vendor_ledger(
            engine, lease_seconds=lease_seconds, pepper=settings.get("pepper")
        ) as ledger,
    ):
        yield engine, ledger
