"""The pepper: a secret beside the books, without which a stolen database tells no key."""

from __future__ import annotations

import secrets
from pathlib import Path

from sqlalchemy import Engine, select

from teacher_server.database.engine import reading
from teacher_server.database.tables import accounts
from teacher_server.errors import LedgerError
from teacher_server.ledger.secret_file import create_secret_file

PEPPERED = "hmac-sha256:"
_MIN_CHARACTERS = 32


def load_pepper(engine: Engine, given: str | None) -> bytes:
    """The pepper that this ledger's keys are hashed with.

    `given` (TEACHER_PEPPER, 32 characters or more) wins. Without it, SQLite's lies in the file
    `<database>.pepper`, made once. Raises LedgerError when there is none and none may be made: on
    PostgreSQL, where every replica must have the same, and where keys were hashed with a lost one.
    """
    if given is not None:
        if len(given) < _MIN_CHARACTERS:
            message = f"TEACHER_PEPPER needs {_MIN_CHARACTERS} characters or more"
            raise LedgerError(message)
        return given.encode()
    if engine.dialect.name != "sqlite":
        message = (
            "set TEACHER_PEPPER to a secret of 32 characters or more, the same for every server "
            "of this database (make one: openssl rand -hex 32)"
        )
        raise LedgerError(message)
    path = Path(f"{engine.url.database}.pepper")
    # Asked before the look at the file: a key that another process is making now comes after it.
    has_peppered_keys = _has_peppered_keys(engine)
    if not path.exists():
        if has_peppered_keys:
            message = (
                f"the keys' pepper {path} is gone: put it back, or set TEACHER_PEPPER if that was "
                "in use; without it no key of this ledger can be recognised"
            )
            raise LedgerError(message)
        create_secret_file(path, secrets.token_hex(32) + "\n")
    return _read(path)


def _has_peppered_keys(engine: Engine) -> bool:
    with reading(engine) as connection:
        found = connection.scalar(
            select(accounts.c.id).where(accounts.c.secret_hash.startswith(PEPPERED)).limit(1)
        )
    return found is not None


def _read(path: Path) -> bytes:
    try:
        pepper = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        message = f"the keys' pepper {path} cannot be read as hexadecimal: {type(error).__name__}"
        raise LedgerError(message) from error
    if len(pepper) != 32:
        message = f"the keys' pepper {path} is {len(pepper)} bytes long, not 32"
        raise LedgerError(message)
    return pepper
