"""API keys: made once, shown once, stored as a hash, each with a budget in units."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from teacher_server.errors import KeyUnknown, LedgerError
from teacher_server.ledger.charges import Clock, append
from teacher_server.ledger.engine import reading, writing
from teacher_server.ledger.entry import GENESIS, LedgerEntry
from teacher_server.ledger.tables import accounts

_FORM = re.compile(r"sk_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,200})")
MAX_UNITS = 2**62


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as its owner holds it: `sk_<id>_<secret>`. Its repr shows the id only."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, token: str) -> ApiKey | None:
        """The key in the token, or None when it has not the form of one."""
        match = _FORM.fullmatch(token)
        return cls(match[1], match[2]) if match else None

    @classmethod
    def new(cls) -> ApiKey:
        """A fresh key with 256 bits of secret."""
        return cls(secrets.token_hex(8), secrets.token_urlsafe(32))

    @property
    def token(self) -> str:
        """The text to hand over, once."""
        return f"sk_{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> str:
        """What is stored. The secret has 256 bits, so a fast hash does not help a thief."""
        return "sha256:" + hashlib.sha256(f"{self.id}\0{self.secret}".encode()).hexdigest()


# Compared with when the id is unknown, so that the time does not tell which ids exist.
_NOBODY = ApiKey("nobody", "0" * 43).secret_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key's standing. Units; `remaining` is what is neither spent nor reserved."""

    id: str
    name: str
    budget_units: int
    spent_units: int
    reserved_units: int
    created_ms: int
    revoked_ms: int | None

    @property
    def remaining_units(self) -> int:
        return self.budget_units - self.spent_units - self.reserved_units


class Keys:
    """Creates, finds, tops up and revokes keys."""

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def create(self, key: ApiKey, *, name: str, budget: int, price_version: str) -> None:
        """Store the key's hash and grant its budget; LedgerError when the id is taken."""
        if not 0 <= budget <= MAX_UNITS:
            message = f"a budget is a count of queries from 0 on, not {budget}"
            raise LedgerError(message)
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    insert(accounts).values(
                        id=key.id,
                        name=name,
                        secret_hash=key.secret_hash,
                        budget_units=0,
                        spent_units=0,
                        reserved_units=0,
                        last_seq=0,
                        last_hash=GENESIS,
                        created_ms=now,
                    )
                )
                _grant(connection, key.id, units=budget, price_version=price_version, now=now)
        except IntegrityError as error:
            message = f"a key with the id {key.id!r} exists already"
            raise LedgerError(message) from error

    def ensure(self, key: ApiKey, *, name: str, budget: int, price_version: str) -> bool:
        """Create the key unless it exists (True if created); never changes its budget.

        Raises LedgerError when the id exists with another secret.
        """
        with reading(self._engine) as connection:
            stored = connection.scalar(
                select(accounts.c.secret_hash).where(accounts.c.id == key.id)
            )
        if stored is None:
            self.create(key, name=name, budget=budget, price_version=price_version)
            return True
        if not hmac.compare_digest(stored, key.secret_hash):
            message = f"the key id {key.id!r} is in the ledger with another secret"
            raise LedgerError(message)
        return False

    def authenticate(self, key: ApiKey) -> Account | None:
        """The key's account; None when the id is unknown, the secret wrong or the key revoked."""
        with reading(self._engine) as connection:
            row = connection.execute(select(accounts).where(accounts.c.id == key.id)).one_or_none()
        stored = _NOBODY if row is None else row.secret_hash
        matches = hmac.compare_digest(stored, key.secret_hash)
        if row is None or not matches or row.revoked_ms is not None:
            return None
        return _account(row)

    def top_up(self, key_id: str, *, units: int, price_version: str) -> Account:
        """Grant more units; KeyUnknown when there is no such key."""
        if not 0 < units <= MAX_UNITS:
            message = f"a top-up is a count of queries from 1 on, not {units}"
            raise LedgerError(message)
        with writing(self._engine) as connection:
            _grant(connection, key_id, units=units, price_version=price_version, now=self._clock())
            return _account(_row(connection, key_id))

    def revoke(self, key_id: str) -> Account:
        """Refuse the key from now on; what it bought stays on record."""
        with writing(self._engine) as connection:
            connection.execute(
                update(accounts)
                .where(accounts.c.id == key_id, accounts.c.revoked_ms.is_(None))
                .values(revoked_ms=self._clock())
            )
            return _account(_row(connection, key_id))

    def all(self) -> list[Account]:
        """Every key, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(accounts).order_by(accounts.c.created_ms, accounts.c.id)
            )
            return [_account(row) for row in rows]

    def get(self, key_id: str) -> Account:
        """One key's standing; KeyUnknown when there is none."""
        with reading(self._engine) as connection:
            return _account(_row(connection, key_id))


def _grant(
    connection: Connection, key_id: str, *, units: int, price_version: str, now: int
) -> None:
    account = connection.execute(
        update(accounts)
        .where(accounts.c.id == key_id)
        .values(budget_units=accounts.c.budget_units + units, last_seq=accounts.c.last_seq + 1)
        .returning(accounts)
    ).one_or_none()
    if account is None:
        raise _unknown(key_id)
    entry = LedgerEntry(
        seq=account.last_seq,
        kind="grant",
        request_id="req_" + secrets.token_hex(16),
        idempotency_key="",
        model="",
        model_fingerprint="",
        images=0,
        texts=0,
        units=units,
        cost_micro_usd=0,
        price_version=price_version,
        balance_units=account.budget_units - account.spent_units,
        created_ms=now,
        prev_hash=account.last_hash,
    )
    append(connection, key_id, entry.sealed())


def _row(connection: Connection, key_id: str) -> Row[Any]:
    row = connection.execute(select(accounts).where(accounts.c.id == key_id)).one_or_none()
    if row is None:
        raise _unknown(key_id)
    return row


def _unknown(key_id: str) -> KeyUnknown:
    return KeyUnknown(f"no key has the id {key_id!r}")


def _account(row: Row[Any]) -> Account:
    return Account(
        id=row.id,
        name=row.name,
        budget_units=row.budget_units,
        spent_units=row.spent_units,
        reserved_units=row.reserved_units,
        created_ms=row.created_ms,
        revoked_ms=row.revoked_ms,
    )
