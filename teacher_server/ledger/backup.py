"""Copies the books of a SQLite ledger while the server sells, and puts a copy in their place."""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, func, select

from teacher_server.database.engine import read_transaction
from teacher_server.database.server_locks import hold_server_lock
from teacher_server.database.tables import entries
from teacher_server.errors import LedgerError
from teacher_server.ledger.audit import Audit
from teacher_server.ledger.ledger import open_database
from teacher_server.ledger.records import Records

_PEPPER = ".pepper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A copy of the books: what its verification found, and the time of its last ledger entry.

    `last_ms` is in Unix milliseconds, None without entries. `has_pepper` is false where the pepper
    is not a file (TEACHER_PEPPER): without it no key of the copy can be verified.
    """

    audit: Audit
    last_ms: int | None
    has_pepper: bool


def back_up(engine: Engine, target: Path) -> Copy:
    """Write a consistent copy of the ledger to `target`, and its pepper to `target`.pepper.

    The server may be running: the copy holds what was committed when it was finished. It is
    verified before it gets its name. Raises LedgerError if a file is in the way, for PostgreSQL,
    and if the copy has a fault.
    """
    _require_sqlite(engine)
    source = Path(str(engine.url.database))
    _require_absent(target)
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(part)) as copy:
            ours.backup(copy)
        done = _verified(part, has_pepper=Path(f"{source}{_PEPPER}").exists())
        _sync(part)
        if done.has_pepper:
            _copy_secret(Path(f"{source}{_PEPPER}"), Path(f"{target}{_PEPPER}"))
        part.rename(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as error:
        message = f"the ledger cannot be copied to {target}: {error}"
        raise LedgerError(message) from error
    finally:
        _remove(part)
    return done


def restore(backup: Path, engine: Engine) -> Copy:
    """Put the copy `backup` in the place of a ledger that does not exist yet.

    Raises LedgerError if there is a ledger already, a server is running on it, or the copy has a
    fault: a ledger is never replaced, because its entries are what customers have paid.
    """
    _require_sqlite(engine)
    target = Path(str(engine.url.database))
    if not backup.is_file():
        message = f"there is no backup {backup}"
        raise LedgerError(message)
    _require_absent(target)
    with hold_server_lock(engine, "restore"):
        part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            # The copy is opened, and not the backup, which stays as it is.
            _copy_secret(backup, part)
            done = _verified(part, has_pepper=Path(f"{backup}{_PEPPER}").exists())
            _sync(part)
            if done.has_pepper:
                _copy_secret(Path(f"{backup}{_PEPPER}"), Path(f"{target}{_PEPPER}"))
            part.rename(target)
            _sync(target.parent)
        except OSError as error:
            message = f"{backup} cannot be restored to {target}: {error}"
            raise LedgerError(message) from error
        finally:
            _remove(part)
    return done


def _remove(part: Path) -> None:
    """Remove an unfinished copy with what SQLite keeps beside it."""
    for rest in part.parent.glob(f"{part.name}*"):
        rest.unlink()


def _require_sqlite(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        message = (
            "this copies SQLite ledgers; for PostgreSQL use pg_dump and pg_restore, then "
            "`teacher-server ledger verify`, and keep TEACHER_PEPPER with the dump"
        )
        raise LedgerError(message)


def _require_absent(path: Path) -> None:
    for one in (path, Path(f"{path}{_PEPPER}"), Path(f"{path}-wal")):
        if one.exists():
            message = f"{one} exists, and is not replaced: name another file, or move it away"
            raise LedgerError(message)


def _verified(path: Path, *, has_pepper: bool) -> Copy:
    # Closing the last connection empties SQLite's log into the file, and removes the log.
    with open_database(f"sqlite:///{path.absolute()}") as engine:
        audit = Records(engine).verify()
        with read_transaction(engine) as connection:
            last_ms = connection.scalar(select(func.max(entries.c.created_ms)))
    if audit.faults:
        message = f"{path} has {len(audit.faults)} faults, the first: {audit.faults[0]}"
        raise LedgerError(message)
    return Copy(audit=audit, last_ms=last_ms, has_pepper=has_pepper)


def _copy_secret(source: Path, target: Path) -> None:
    """A copy that only its owner can read, on the disk when this returns."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as content:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
