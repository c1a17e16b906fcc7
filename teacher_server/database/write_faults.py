"""Recognises a database that takes no writes: its disk is full or fails, or it is read-only."""

from __future__ import annotations

import sqlite3
from typing import Final

# By primary result code; the byte above it says where it happened.
_SQLITE: Final = {
    sqlite3.SQLITE_FULL: "the disk of the database is full",
    sqlite3.SQLITE_READONLY: "the database is read-only",
    sqlite3.SQLITE_IOERR: "the disk of the database reports an error",
    sqlite3.SQLITE_CANTOPEN: "a file of the database cannot be opened",
}
# By SQLSTATE.
_POSTGRESQL: Final = {
    "53100": "the disk of the database is full",
    "25006": "the database is read-only",
    "58030": "the disk of the database reports an error",
}


def write_fault(error: BaseException) -> str | None:
    """Why the database takes no writes, as a clause; None if `error` says something else."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE.get(code & 0xFF)
    return _POSTGRESQL.get(str(getattr(original, "sqlstate", "")))
