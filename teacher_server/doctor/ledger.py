"""The ledger: its database, schema, rights, pepper, keys and dates, read and never written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, func, select, text

from teacher_server.database.engine import read_transaction
from teacher_server.database.migrate import schema_age
from teacher_server.database.tables import accounts, entries
from teacher_server.doctor.finding import Finding, checked, fault, ok, warning
from teacher_server.doctor.read_only import open_read_only, sqlite_file
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.clock import unix_ms
from teacher_server.ledger.pepper import find_pepper
from teacher_server.settings import VendorSettings

_OLDEST_POSTGRESQL: Final = 15  # older versions get no security fixes from the PostgreSQL project
_SKEW_MS: Final = 60_000
_HOW_TO_MAKE: Final = "make one with `teacher-server keys create --name NAME --budget QUERIES`"


def ledger(settings: VendorSettings) -> Iterator[Finding]:
    """Everything about the database that the settings name."""
    file = sqlite_file(settings.database)
    with open_read_only(settings.database) as engine:
        if file is None:
            yield from _server(engine)
        elif file.exists():
            yield from _file(file)
        else:
            yield ok("database", f"{file} does not exist yet: the first start makes it")
        age = "none" if file is not None and not file.exists() else schema_age(engine)
        if age == "unknown":
            yield fault(
                "schema",
                "it is not of this version, and not of an older one",
                "start the version that last opened this ledger, or a newer one",
            )
            return
        if age == "older":
            yield warning(
                "schema",
                "it is of an older version: the next start or command brings it to this one",
                "make a backup first (`teacher-server ledger backup FILE`, or pg_dump)",
            )
        else:
            new = "there are no tables yet: the first start makes them"
            yield ok("schema", new if age == "none" else "it is that of this version")
        yield from checked(
            "pepper",
            partial(_pepper, engine, settings, has_tables=age != "none"),
            fix="restore the pepper from its backup, or set TEACHER_PEPPER",
        )
        if age == "current":
            yield from _keys(engine, settings)
            yield from _dates(engine)


def first_key(settings: VendorSettings) -> Iterator[Finding]:
    """Whether the first key that the settings give can be read as one; it is never shown."""
    if settings.first_key is None:
        return
    key = ApiKey.parse(settings.first_key.get_secret_value())
    if key is None:
        fix = "set it to sk_<id>_<secret of 16 characters or more>"
        yield fault("first key", "TEACHER_FIRST_KEY is not of the form of a key", fix)
    else:
        yield ok("first key", f"TEACHER_FIRST_KEY gives the key {key.id}")


def _file(file: Path) -> Iterator[Finding]:
    if not os.access(file, os.R_OK | os.W_OK):
        fix = f"let the user {os.getuid()} read and write it, and mount its disk writable"
        yield fault("database", f"{file} cannot be written", fix)
        return
    yield ok("database", f"SQLite, {file}, {file.stat().st_size / 2**20:,.1f} MiB")
    lock = Path(f"{file}.server-lock")
    if lock.exists() and _is_locked(lock):
        fix = "stop it before you start another; a vendor that runs needs nothing"
        yield warning("database", f"a vendor is using this ledger (it holds {lock})", fix)


def _is_locked(lock: Path) -> bool:
    """Whether a server holds the lock; taken for a moment, as a reader, to find out."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _server(engine: Engine) -> Iterator[Finding]:
    with read_transaction(engine) as connection:
        version = str(connection.scalar(text("SHOW server_version")))
        number = int(str(connection.scalar(text("SHOW server_version_num"))))
        is_read_only = connection.scalar(text("SHOW default_transaction_read_only")) == "on"
        is_read_only |= bool(connection.scalar(text("SELECT pg_is_in_recovery()")))
        may_create = connection.scalar(
            text("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
        )
        now = connection.scalar(text("SELECT (extract(epoch FROM now()) * 1000)::bigint"))
    where = f"PostgreSQL {version}, {engine.url.host or 'a socket'}, {engine.url.database}"
    if number // 10_000 < _OLDEST_POSTGRESQL:
        fix = f"upgrade to PostgreSQL {_OLDEST_POSTGRESQL} or newer"
        yield warning("database", f"{where}: this version gets no security fixes", fix)
    if is_read_only:
        fix = "name the primary server in --database, with a role that may write"
        yield fault("database", f"{where}: it takes no writes", fix)
    elif not may_create:
        fix = f"as its owner: GRANT CREATE, USAGE ON SCHEMA public TO {engine.url.username}"
        yield fault("database", f"{where}: the role may not create tables", fix)
    else:
        yield ok("database", f"{where}: it takes writes")
    skew = unix_ms() - int(now or 0)
    if abs(skew) > _SKEW_MS:
        detail = f"this machine is {skew / 1000:+,.0f} seconds off the database's clock"
        yield warning("clock", detail, "set both by NTP: leases and expiries are compared")


def _pepper(engine: Engine, settings: VendorSettings, *, has_tables: bool) -> Iterator[Finding]:
    pepper = find_pepper(engine, settings.given_pepper, has_tables=has_tables)
    file = Path(f"{engine.url.database}.pepper")
    if settings.given_pepper is not None:
        yield ok("pepper", "TEACHER_PEPPER gives it")
    elif pepper is None:
        yield ok("pepper", f"{file} does not exist yet: the first start or key makes it")
    elif file.stat().st_mode & 0o077:
        detail = f"other users of this machine may read or write {file}"
        yield warning("pepper", detail, f"chmod 600 {file}")
    else:
        yield ok("pepper", f"read from {file}; back it up with the ledger")


def _keys(engine: Engine, settings: VendorSettings) -> Iterator[Finding]:
    now = unix_ms()
    is_valid = accounts.c.revoked_ms.is_(None) & (
        accounts.c.expires_ms.is_(None) | (accounts.c.expires_ms > now)
    )
    can_pay = accounts.c.spent_units + accounts.c.reserved_units < accounts.c.budget_units
    may_renew = accounts.c.budget_period != "none"
    with read_transaction(engine) as connection:
        total = connection.scalar(select(func.count()).select_from(accounts)) or 0
        paying = connection.scalar(
            select(func.count()).select_from(accounts).where(is_valid & (can_pay | may_renew))
        )
    if paying:
        yield ok("keys", f"{paying:,} of {total:,} keys can buy")
    elif not total and (settings.first_key or settings.first_key_file):
        yield ok("keys", "there are none: the start makes the first")
    else:
        fix = f"{_HOW_TO_MAKE}, or top one up with `teacher-server keys topup`"
        yield warning("keys", f"none of {total:,} keys can buy", fix)


def _dates(engine: Engine) -> Iterator[Finding]:
    with read_transaction(engine) as connection:
        last = connection.scalar(select(func.max(entries.c.created_ms)))
    if last is not None and last > unix_ms() + _SKEW_MS:
        shown = f"{datetime.fromtimestamp(last / 1000, UTC):%Y-%m-%d %H:%M} UTC"
        detail = f"the last entry of the ledger is of {shown}, which is in the future"
        yield fault("clock", detail, "set the clock of this machine, such as by NTP")
