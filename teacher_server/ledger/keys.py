"""API keys: made once, shown once, stored as a hash, each with a budget in units."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Unpack

from sqlalchemy import Connection, Engine, Row, insert, select, update
from sqlalchemy.exc import IntegrityError

from teacher_server.database.engine import reading, writing
from teacher_server.database.tables import accounts, entries
from teacher_server.errors import GrantReused, KeyRevoked, LedgerError
from teacher_server.ledger.account import (
    DEFAULT_SCOPES,
    Account,
    Limits,
    account_of,
    checked_period,
    columns_of,
)
from teacher_server.ledger.append import MAX_GRANTED, grant, unknown
from teacher_server.ledger.clock import Clock
from teacher_server.ledger.entry import GENESIS
from teacher_server.ledger.pepper import PEPPERED
from teacher_server.ledger.period import is_due, period_start, renew

__all__ = ["MAX_GRANTED", "Account", "ApiKey", "Keys", "Limits"]

_FORM = re.compile(r"sk_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{16,200})")
# A use is noted once in this long: reading would write with every request otherwise.
_USE_NOTED_MS = 60_000


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
    def new(cls, key_id: str | None = None) -> ApiKey:
        """A fresh key with 256 bits of secret, under this id or a fresh one."""
        return cls(key_id or secrets.token_hex(8), secrets.token_urlsafe(32))

    @property
    def token(self) -> str:
        """The text to hand over, once."""
        return f"sk_{self.id}_{self.secret}"

    def hashed(self, pepper: bytes) -> str:
        """What is stored. The secret has 256 bits, so a fast hash does not help a thief."""
        return PEPPERED + hmac.new(pepper, self._hashed_bytes, hashlib.sha256).hexdigest()

    @property
    def unpeppered_hash(self) -> str:
        """What version 0.1 stored; replaced when the key is next used."""
        return "sha256:" + hashlib.sha256(self._hashed_bytes).hexdigest()

    def matches(self, stored: str, pepper: bytes) -> bool:
        """Whether the stored hash is this key's, in a time that tells nothing of it."""
        # Both are always computed and compared: `or` would tell which kind is stored.
        return hmac.compare_digest(stored, self.hashed(pepper)) | hmac.compare_digest(
            stored, self.unpeppered_hash
        )

    @property
    def _hashed_bytes(self) -> bytes:
        return f"{self.id}\0{self.secret}".encode()


class Keys:
    """Creates, finds, changes, tops up and revokes keys."""

    def __init__(self, engine: Engine, *, clock: Clock, pepper: bytes) -> None:
        self._engine = engine
        self._clock = clock
        self._pepper = pepper
        # Compared with when the id is unknown, so that the time does not tell which ids exist.
        self._nobody = ApiKey.new().hashed(pepper)

    def create(
        self,
        key: ApiKey,
        *,
        name: str,
        budget: int,
        price_version: str,
        scopes: Sequence[str] = DEFAULT_SCOPES,
        expires_ms: int | None = None,
        requests_per_minute: int | None = None,
        max_concurrent: int | None = None,
        period: str = "none",
    ) -> Account:
        """Store the key's hash and grant its budget; with a period, once in each.

        Raises LedgerError when the id is taken or a figure makes no sense.
        """
        if not 0 <= budget <= MAX_GRANTED:
            message = f"a budget is a count of queries from 0 to {MAX_GRANTED}, not {budget}"
            raise LedgerError(message)
        limits = columns_of(
            Limits(
                scopes=scopes,
                expires_ms=expires_ms,
                requests_per_minute=requests_per_minute,
                max_concurrent=max_concurrent,
            )
        )
        checked = checked_period(period)
        now = self._clock()
        try:
            with writing(self._engine) as connection:
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
                        **limits,
                    )
                )
                grant(connection, key.id, units=budget, price_version=price_version, now=now)
                return account_of(_row(connection, key.id))
        except IntegrityError as error:
            message = f"a key with the id {key.id!r} exists already"
            raise LedgerError(message) from error

    def ensure(self, key: ApiKey, *, name: str, budget: int, price_version: str) -> bool:
        """Create the key unless it exists (True if created); never changes its budget.

        Raises LedgerError when the id exists with another secret.
        """
        stored = self._stored_hash(key.id)
        if stored is None:
            try:
                self.create(key, name=name, budget=budget, price_version=price_version)
            except LedgerError:
                # Of replicas that start at once only one can create it.
                stored = self._stored_hash(key.id)
                if stored is None:
                    raise
            else:
                return True
        if not key.matches(stored, self._pepper):
            message = (
                f"the key id {key.id!r} is in the ledger with another secret: put the key as it "
                "was last shown (rotating shows a new one) into TEACHER_FIRST_KEY, or remove that"
            )
            raise LedgerError(message)
        return False

    def exist(self) -> bool:
        """Whether a key was ever made; revoked and expired keys count."""
        with reading(self._engine) as connection:
            return connection.scalar(select(accounts.c.id).limit(1)) is not None

    def _stored_hash(self, key_id: str) -> str | None:
        with reading(self._engine) as connection:
            return connection.scalar(select(accounts.c.secret_hash).where(accounts.c.id == key_id))

    def authenticate(self, key: ApiKey) -> Account | None:
        """The key's account, in its current period; None when the key is not good, whyever.

        An unknown id, a wrong secret, a revoked and an expired key cannot be told apart.
        """
        now = self._clock()
        with reading(self._engine) as connection:
            row = connection.execute(select(accounts).where(accounts.c.id == key.id)).one_or_none()
        is_right = key.matches(self._nobody if row is None else row.secret_hash, self._pepper)
        if row is None or not is_right or row.revoked_ms is not None:
            return None
        if row.expires_ms is not None and row.expires_ms <= now:
            return None
        is_noted = row.last_used_ms is not None and now - row.last_used_ms < _USE_NOTED_MS
        if is_noted and row.secret_hash.startswith(PEPPERED) and not is_due(row, now):
            return account_of(row)
        return self._used(key, row.secret_hash, now)

    def _used(self, key: ApiKey, stored: str, now: int) -> Account | None:
        with writing(self._engine) as connection:
            noted = connection.execute(
                update(accounts)
                # A secret that was rotated since the look must not be put back.
                .where(accounts.c.id == key.id, accounts.c.secret_hash == stored)
                .values(secret_hash=key.hashed(self._pepper), last_used_ms=now)
            )
            if noted.rowcount == 0:
                return None
            renew(connection, key.id, now)
            return account_of(_row(connection, key.id))

    def rotate(self, key_id: str) -> ApiKey:
        """Give the key a new secret; the old one is refused from now on, the books go on.

        Raises KeyUnknown and KeyRevoked.
        """
        fresh = ApiKey.new(key_id)
        with writing(self._engine) as connection:
            if _row(connection, key_id, lock=True).revoked_ms is not None:
                message = f"the key {key_id!r} is revoked; make a new one"
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
        """Grant more units; under one `grant_id`, a key gets them once, however often it is asked.

        Raises KeyUnknown, and GrantReused when the `grant_id` came with another number of units.
        """
        if not 0 < units <= MAX_GRANTED:
            message = f"a top-up is a count of queries from 1 to {MAX_GRANTED}, not {units}"
            raise LedgerError(message)
        request_id = None if grant_id is None else _grant_request_id(key_id, grant_id)
        now = self._clock()
        with writing(self._engine) as connection:
            # First, or the renewal would take the top-up for units left over. Its row lock also
            # makes whoever brings the same grant wait for this one.
            renew(connection, key_id, now)
            granted = connection.scalar(
                select(entries.c.units).where(entries.c.request_id == request_id)
            )
            if granted is None:
                grant(
                    connection,
                    key_id,
                    units=units,
                    price_version=price_version,
                    now=now,
                    request_id=request_id,
                )
            elif granted != units:
                message = f"this grant was made before, with {granted} units instead of {units}"
                raise GrantReused(message)
            return account_of(_row(connection, key_id))

    def set_limits(self, key_id: str, **limits: Unpack[Limits]) -> Account:
        """Change what is given, leave the rest; KeyUnknown, or LedgerError for no sense."""
        values = columns_of(limits)
        with writing(self._engine) as connection:
            if values:
                connection.execute(update(accounts).where(accounts.c.id == key_id).values(**values))
            return account_of(_row(connection, key_id))

    def revoke(self, key_id: str) -> Account:
        """Refuse the key from now on; what it bought stays on record."""
        with writing(self._engine) as connection:
            connection.execute(
                update(accounts)
                .where(accounts.c.id == key_id, accounts.c.revoked_ms.is_(None))
                .values(revoked_ms=self._clock())
            )
            return account_of(_row(connection, key_id))

    def all(self) -> list[Account]:
        """Every key, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(accounts).order_by(accounts.c.created_ms, accounts.c.id)
            )
            return [account_of(row) for row in rows]

    def get(self, key_id: str) -> Account:
        """One key's standing as of its last use; KeyUnknown when there is none."""
        with reading(self._engine) as connection:
            return account_of(_row(connection, key_id))


def _grant_request_id(key_id: str, grant_id: str) -> str:
    digest = hashlib.sha256(f"{key_id}\0{grant_id}".encode()).hexdigest()
    return f"grant_{digest[:48]}"


def _row(connection: Connection, key_id: str, *, lock: bool = False) -> Row[Any]:
    found = select(accounts).where(accounts.c.id == key_id)
    row = connection.execute(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise unknown(key_id)
    return row
