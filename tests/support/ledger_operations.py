"""A ledger with one key, as the tests of charges use it, on either database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from teacher_server.database.engine import write_transaction
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.ledger.purchase import Price, Purchase, Reservation

PRICE = Price(version="p1", micro_usd_per_unit=100)
PEPPER = "a pepper for the tests, long enough to be one"
LEASE_SECONDS = 60


@dataclass
class OneKeyLedger:
    """A ledger with one key, and a clock that the test sets."""

    dsn: str
    engine: Engine
    ledger: Ledger
    now: list[int]
    key: ApiKey = field(default_factory=ApiKey.new)
    number: int = 0

    def open_key(self, budget: int, *, period: str = "none") -> None:
        self.key = ApiKey.new()
        self.ledger.keys.create(
            self.key, name="n", budget=budget, price_version="p1", period=period
        )

    def purchase(self, units: int = 1, **changes: str) -> Purchase:
        self.number += 1
        made = Purchase(
            request_id=f"req_{self.key.id}_{self.number}",
            key_id=self.key.id,
            idempotency_key=f"k{self.number}",
            payload_sha256="f" * 64,
            images=units,
            texts=0,
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    def reserve(self, units: int = 1) -> Reservation:
        outcome = self.ledger.charges.reserve(self.purchase(units), PRICE)
        assert isinstance(outcome, Reservation)
        return outcome

    def post(self, reservation: Reservation) -> LedgerEntry:
        seen: list[LedgerEntry] = []

        def render(entry: LedgerEntry) -> bytes:
            seen.append(entry)
            return body_of(entry)

        self.ledger.charges.post(
            reservation, model="m", model_fingerprint="sha256:f", render=render
        )
        return seen[0]

    def buy(self, units: int = 1) -> LedgerEntry:
        return self.post(self.reserve(units))

    @property
    def account(self) -> Account:
        return self.ledger.keys.get(self.key.id)

    @property
    def state(self) -> tuple[int, int, int]:
        account = self.account
        return account.budget_units, account.spent_units, account.reserved_units

    @property
    def entries(self) -> list[LedgerEntry]:
        return self.ledger.records.entries(self.key.id)

    @property
    def faults(self) -> tuple[str, ...]:
        return self.ledger.records.verify().faults

    def assert_database_refuses(self, statement: str) -> None:
        with pytest.raises(DBAPIError), write_transaction(self.engine) as connection:
            connection.execute(text(statement))


def body_of(entry: LedgerEntry) -> bytes:
    """The answer stored for a charge."""
    return json.dumps({"data": entry.request_id, "receipt": entry.document()}).encode()


@contextmanager
def one_key_ledger(dsn: str, *, budget: int = 10) -> Iterator[OneKeyLedger]:
    """The ledger of a running vendor, with a key of this budget and leases of a minute."""
    now = [1_000_000]
    with serving_at(dsn, clock=lambda: now[0]) as (engine, ledger):
        made = OneKeyLedger(dsn, engine, ledger, now)
        made.open_key(budget)
        yield made


@contextmanager
def serving_at(dsn: str, *, clock: Callable[[], int]) -> Iterator[tuple[Engine, Ledger]]:
    """The ledger as a running server holds it."""
    with (
        open_database(dsn) as engine,
        open_ledger(engine, lease_seconds=LEASE_SECONDS, clock=clock, pepper=PEPPER) as ledger,
    ):
        yield engine, ledger


def tamper(engine: Engine, *statements: str) -> None:
    """Change the database with its triggers disabled, as a user with full access could."""
    if engine.dialect.name == "postgresql":
        with write_transaction(engine) as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement))
        return
    file = sqlite3.connect(str(engine.url.database))
    for (trigger,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        file.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        file.execute(statement)
    file.commit()
    file.close()
