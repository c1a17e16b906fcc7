"""Opens a database to look at it: no file is made, and nothing is written or migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine

from teacher_server.database.engine import database_url, postgresql_arguments

_CONNECT_SECONDS = "10"


def sqlite_file(dsn: str) -> Path | None:
    """The file of a SQLite ledger, which need not exist; None for another database."""
    url = database_url(dsn)
    if url.get_backend_name() != "sqlite":
        return None
    return Path(str(url.database).removeprefix("file:"))


@contextmanager
def open_read_only(dsn: str) -> Iterator[Engine]:
    """An engine that only reads. Raises LedgerError for a DSN that is not valid.

    With SQLite the file must exist: an error of the database is raised at the first use otherwise.
    """
    url = database_url(dsn)
    file = sqlite_file(dsn)
    if file is None:
        # A database that does not answer would keep its operator waiting for minutes.
        query = {"connect_timeout": _CONNECT_SECONDS, **url.query}
        engine = create_engine(
            url.set(query=query), hide_parameters=True, connect_args=postgresql_arguments()
        )
    else:
        engine = create_engine(url, creator=lambda: _connect(file), hide_parameters=True)
    try:
        yield engine
    finally:
        engine.dispose()


def _connect(file: Path) -> sqlite3.Connection:
    # A reader of a database in WAL mode makes the files -wal and -shm beside it. Without a -wal,
    # nobody is writing, and the file alone is the whole database.
    is_written = Path(f"{file}-wal").exists()
    mode = "mode=ro" if is_written else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{quote(str(file))}?{mode}", uri=True, check_same_thread=False)
