"""Creates, authenticates and changes API keys, each with a budget in queries."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Unpack

from sqlalchemy import Connection, Engine, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.prepared import Prepared, Record
from teacher_server.database.tables import accounts, entries
from teacher_server.errors import GrantReused, KeyRevoked, LedgerError
from teacher_server.ledger.account import (
    DEFAULT_SCOPES,
    Account,
    Limits,
    account_from_row,
    checked_period,
    limit_columns,
)
from teacher_server.ledger.api_key import PEPPERED_PREFIX, ApiKey
from teacher_server.ledger.append import MAX_GRANTED, Grant, append_grant, unknown_key
from teacher_server.ledger.clock import Clock
from teacher_server.ledger.entry import GENESIS
from teacher_server.ledger.period import is_due, period_start, renew_period

# Uses are recorded at most once in this time, so that not every request writes.
_USE_RECORDED_MS = 60_000
_BY_ID = Prepared(select(accounts).where(accounts.c.id == bindparam("of_key")))


class Keys:
    """The API keys of a ledger."""

    def __init__(self, engine: Engine, *, clock: Clock, pepper: bytes) -> None:
        self._engine = engine
        self._clock = clock
        self._pepper = pepper
        # Compared if the id is unknown, so that the time does not reveal which ids exist.
        self._dummy_hash = ApiKey.new().hashed(pepper)

    def create(
        self,
        key: ApiKey,
        *,
        name: str,
        budget: int,
        price_version: str,
        period: str = "none",
        **limits: Unpack[Limits],
    ) -> Account:
        """Store the key's hash and grant its budget in queries; with a period, in each period.

        Raises LedgerError if the id exists or a value is out of range.
        """
        if not 0 <= budget <= MAX_GRANTED:
            message = f"a budget must be from 0 to {MAX_GRANTED} queries, not {budget}"
            raise LedgerError(message)
        columns = limit_columns({"scopes": DEFAULT_SCOPES, **limits})
        checked = checked_period(period)
        now = self._clock()
        try:
            with write_transaction(self._engine) as connection:
                connection.execute(
                    insert(accounts).values(
                        id=key.id,
                        name=name,
                        secret_hash=key.hashed(self._pepper),
                        budget_units=0,
                        spent_units=0,
                        reserved_units=0,
                        last_seq=0,
                        last_hash=GENESIS,
                        created_ms=now,
                        budget_period=checked,
                        period_units=None if checked == "none" else budget,
                        period_start_ms=period_start(checked, now),
                        **columns,
                    )
                )
                grant = Grant(units=budget, price_version=price_version)
                append_grant(connection, key.id, grant, now)
                return account_from_row(_account_row(connection, key.id))
        except IntegrityError as error:
            message = f"a key with the id {key.id!r} already exists"
            raise LedgerError(message) from error

    def ensure(self, key: ApiKey, *, name: str, budget: int, price_version: str) -> bool:
        """Create the key unless it exists; returns whether it was created.

        Never changes the budget of an existing key. Raises LedgerError if the id exists with
        another secret.
        """
        stored = self._stored_hash(key.id)
        if stored is None:
            try:
                self.create(key, name=name, budget=budget, price_version=price_version)
            except LedgerError:
                # If several replicas start at the same time, only one of them can create it.
                stored = self._stored_hash(key.id)
                if stored is None:
                    raise
            else:
                return True
        if not key.matches(stored, self._pepper):
            message = (
                f"the key {key.id!r} exists with another secret: set TEACHER_FIRST_KEY to the key "
                "as it was last printed (rotating prints a new key), or unset it"
            )
            raise LedgerError(message)
        return False

    def exist(self) -> bool:
        """Whether a key was ever made; revoked and expired keys count."""
        with read_transaction(self._engine) as connection:
            return connection.scalar(select(accounts.c.id).limit(1)) is not None

    def _stored_hash(self, key_id: str) -> str | None:
        with read_transaction(self._engine) as connection:
            return connection.scalar(select(accounts.c.secret_hash).where(accounts.c.id == key_id))

    def authenticate(self, key: ApiKey) -> Account | None:
        """The key's account in its current period, or None if the key is not valid.

        The result does not reveal whether the id is unknown, the secret wrong, or the key revoked
        or expired.
        """
        now = self._clock()
        row = self._row(key.id)
        is_right = key.matches(self._dummy_hash if row is None else row.secret_hash, self._pepper)
        if row is None or not is_right or not _is_usable(row, now):
            return None
        is_recorded = row.last_used_ms is not None and now - row.last_used_ms < _USE_RECORDED_MS
        if is_recorded and row.secret_hash.startswith(PEPPERED_PREFIX) and not is_due(row, now):
            return account_from_row(row)
        return self._record_use(key, row.secret_hash, now)

    def session_secret(self, key_id: str) -> bytes | None:
        """The secret that signs the sessions of a key; another one once the key is rotated.

        None if the key is unknown, expired or revoked.
        """
        row = self._row(key_id)
        if row is None or not _is_usable(row, self._clock()):
            return None
        signed = f"page session\0{row.secret_hash}".encode()
        return hmac.new(self._pepper, signed, hashlib.sha256).digest()

    def current(self, key_id: str) -> Account:
        """A key's account in its current period; raises KeyUnknown."""
        now = self._clock()
        row = self._row(key_id)
        if row is None:
            raise unknown_key(key_id)
        if not is_due(row, now):
            return account_from_row(row)
        with write_transaction(self._engine) as connection:
            renew_period(connection, key_id, now)
            return account_from_row(_account_row(connection, key_id))

    def _row(self, key_id: str) -> Record | None:
        return _BY_ID.row_now(self._engine, {"of_key": key_id})

    def _record_use(self, key: ApiKey, stored: str, now: int) -> Account | None:
        with write_transaction(self._engine) as connection:
            recorded = connection.execute(
                update(accounts)
                # A secret that was rotated in the meantime must not be restored.
                .where(accounts.c.id == key.id, accounts.c.secret_hash == stored)
                .values(secret_hash=key.hashed(self._pepper), last_used_ms=now)
            )
            if recorded.rowcount == 0:
                return None
            renew_period(connection, key.id, now)
            return account_from_row(_account_row(connection, key.id))

    def rotate(self, key_id: str) -> ApiKey:
        """Replace the key's secret; the old one is refused from now on, the account stays.

        Raises KeyUnknown or KeyRevoked.
        """
        fresh = ApiKey.new(key_id)
        with write_transaction(self._engine) as connection:
            if _account_row(connection, key_id, lock=True).revoked_ms is not None:
                message = f"the key {key_id!r} is revoked; create a new key"
                raise KeyRevoked(message)
            connection.execute(
                update(accounts)
                .where(accounts.c.id == key_id)
                .values(secret_hash=fresh.hashed(self._pepper))
            )
        return fresh

    def top_up(
        self, key_id: str, *, units: int, price_version: str, grant_id: str | None = None
    ) -> Account:
        """Add queries to the key's budget; a repetition with the same `grant_id` adds nothing.

        Raises KeyUnknown, or GrantReused if the `grant_id` was used for another number of queries.
        """
        if not 0 < units <= MAX_GRANTED:
            message = f"a top-up must be from 1 to {MAX_GRANTED} queries, not {units}"
            raise LedgerError(message)
        request_id = None if grant_id is None else _grant_request_id(key_id, grant_id)
        now = self._clock()
        with write_transaction(self._engine) as connection:
            # Renewed first: a later renewal would take the top-up for unspent queries of the old
            # period. Its row lock also serialises repetitions of the same grant.
            renew_period(connection, key_id, now)
            granted = connection.scalar(
                select(entries.c.units).where(entries.c.request_id == request_id)
            )
            if granted is None:
                grant = Grant(units=units, price_version=price_version, request_id=request_id)
                append_grant(connection, key_id, grant, now)
            elif granted != units:
                message = f"this grant was made before, with {granted} queries instead of {units}"
                raise GrantReused(message)
            return account_from_row(_account_row(connection, key_id))

    def set_limits(self, key_id: str, **limits: Unpack[Limits]) -> Account:
        """Change the given limits only; raises KeyUnknown, or LedgerError for invalid values."""
        values = limit_columns(limits)
        with write_transaction(self._engine) as connection:
            if values:
                connection.execute(update(accounts).where(accounts.c.id == key_id).values(**values))
            return account_from_row(_account_row(connection, key_id))

    def revoke(self, key_id: str) -> Account:
        """Revoke the key permanently; what it bought stays in the ledger."""
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(accounts)
                .where(accounts.c.id == key_id, accounts.c.revoked_ms.is_(None))
                .values(revoked_ms=self._clock())
            )
            return account_from_row(_account_row(connection, key_id))

    def all(self) -> list[Account]:
        """Every key, oldest first."""
        with read_transaction(self._engine) as connection:
            rows = connection.execute(
                select(accounts).order_by(accounts.c.created_ms, accounts.c.id)
            )
            return [account_from_row(row) for row in rows]

    def get(self, key_id: str) -> Account:
        """A key's account as of its last use; raises KeyUnknown."""
        with read_transaction(self._engine) as connection:
            return account_from_row(_account_row(connection, key_id))


def _is_usable(row: Record, now: int) -> bool:
    return row.revoked_ms is None and (row.expires_ms is None or row.expires_ms > now)


def _grant_request_id(key_id: str, grant_id: str) -> str:
    digest = hashlib.sha256(f"{key_id}\0{grant_id}".encode()).hexdigest()
    return f"grant_{digest[:48]}"


def _account_row(connection: Connection, key_id: str, *, lock: bool = False) -> Row[Any]:
    found = select(accounts).where(accounts.c.id == key_id)
    row = connection.execute(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise unknown_key(key_id)
    return row
