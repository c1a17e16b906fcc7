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

from teacher_server.database.engine import writing
from teacher_server.ledger.charges import Purchase, Reservation
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.keys import Account, ApiKey
from teacher_server.ledger.ledger import Ledger, opened, serving
from teacher_server.ledger.price import Price

PRICE = Price(version="p1", micro_usd_per_unit=100)
PEPPER = "a pepper for the tests, long enough to be one"
LEASE_SECONDS = 60


@dataclass
class Books:
    """A ledger with one key, and a clock that the test turns."""

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
    def standing(self) -> tuple[int, int, int]:
        account = self.account
        return account.budget_units, account.spent_units, account.reserved_units

    @property
    def entries(self) -> list[LedgerEntry]:
        return self.ledger.books.entries(self.key.id)

    @property
    def faults(self) -> tuple[str, ...]:
        return self.ledger.books.verify().faults

    def refused_by_the_database(self, statement: str) -> None:
        with pytest.raises(DBAPIError), writing(self.engine) as connection:
            connection.execute(text(statement))


def body_of(entry: LedgerEntry) -> bytes:
    """The answer that these books keep for a charge."""
    return json.dumps({"data": entry.request_id, "receipt": entry.document()}).encode()


@contextmanager
def books_at(dsn: str, *, budget: int = 10) -> Iterator[Books]:
    """The books of a serving vendor, with a key of this budget and leases of a minute."""
    now = [1_000_000]
    with serving_at(dsn, clock=lambda: now[0]) as (engine, ledger):
        made = Books(dsn, engine, ledger, now)
        made.open_key(budget)
        yield made


@contextmanager
def serving_at(dsn: str, *, clock: Callable[[], int]) -> Iterator[tuple[Engine, Ledger]]:
    """A server's hold on the books."""
    with (
        opened(dsn) as engine,
        serving(engine, lease_seconds=LEASE_SECONDS, clock=clock, pepper=PEPPER) as ledger,
    ):
        yield engine, ledger


def meddle(engine: Engine, *statements: str) -> None:
    """Change the books as somebody with the whole database could: its guards are asleep."""
    if engine.dialect.name == "postgresql":
        with writing(engine) as connection:
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
