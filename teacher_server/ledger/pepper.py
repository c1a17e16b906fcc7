"""The pepper: a secret outside the database that key hashes depend on.

Without it, a stolen database cannot be used to test guesses of a key.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Engine, select

from teacher_server.atomic_file import write_atomically
from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import accounts
from teacher_server.errors import LedgerError
from teacher_server.ledger.api_key import PEPPERED_PREFIX

_MIN_CHARACTERS = 32


def load_pepper(engine: Engine, given: str | None) -> bytes:
    """The pepper that this ledger's keys are hashed with.

    It is `given` (TEACHER_PEPPER, 32 characters or more) or, for SQLite, the content of the file
    `<database>.pepper`, which is created once. Raises LedgerError if there is no pepper and none
    may be created: for PostgreSQL, where all replicas need the same pepper, and for a ledger whose
    keys were hashed with a pepper that is gone.
    """
    pepper = find_pepper(engine, given)
    if pepper is not None:
        return pepper
    # Never replaces a pepper that another process creates at the same moment.
    path = _file_of(engine)
    write_atomically(path, secrets.token_hex(32) + "\n", overwrite=False, permissions=0o600)
    return _read(path)


def find_pepper(engine: Engine, given: str | None, *, has_tables: bool = True) -> bytes | None:
    """The pepper as `load_pepper` finds it, or None where that would create it.

    `has_tables` is false for a database that was never migrated. Raises LedgerError as
    `load_pepper` does.
    """
    if given is not None:
        if len(given) < _MIN_CHARACTERS:
            message = f"TEACHER_PEPPER needs {_MIN_CHARACTERS} characters or more"
            raise LedgerError(message)
        return given.encode()
    if engine.dialect.name != "sqlite":
        message = (
            "set TEACHER_PEPPER to a secret of 32 characters or more, the same for all servers "
            "of this database (to create a pepper: openssl rand -hex 32)"
        )
        raise LedgerError(message)
    path = _file_of(engine)
    # Queried before the file is checked: another process creates the file before its first key.
    has_peppered_keys = has_tables and _has_peppered_keys(engine)
    if not path.exists():
        if has_peppered_keys:
            message = (
                f"the pepper file {path} is missing: restore it, or set TEACHER_PEPPER if that was "
                "used before; without the pepper, no key of this ledger can be verified"
            )
            raise LedgerError(message)
        return None
    return _read(path)


def _file_of(engine: Engine) -> Path:
    return Path(f"{engine.url.database}.pepper")


def _has_peppered_keys(engine: Engine) -> bool:
    with read_transaction(engine) as connection:
        found = connection.scalar(
            select(accounts.c.id).where(accounts.c.secret_hash.startswith(PEPPERED_PREFIX)).limit(1)
        )
    return found is not None


def _read(path: Path) -> bytes:
    try:
        pepper = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        message = f"the pepper file {path} cannot be read as hexadecimal: {type(error).__name__}"
        raise LedgerError(message) from error
    if len(pepper) != 32:
        message = f"the pepper file {path} holds {len(pepper)} bytes instead of 32"
        raise LedgerError(message)
    return pepper
