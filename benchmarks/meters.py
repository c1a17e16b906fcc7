"""Two ways to enforce a budget: the vendor's ledger, and check-then-add on the same database.

Check-then-add is what a gateway does that counts after the answer: it reads what is spent, does the
work, then adds the cost. It shows that the benchmark detects an overshoot.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from sqlalchemy import BigInteger, Column, Engine, MetaData, String, Table, insert, select, update

from benchmarks.support.databases import open_ledger
from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.purchase import Price, Purchase, Refused, Reservation

WORK_SECONDS = 0.05  # duration of a batch on a CPU, between the check and the charge
PRICE = Price(version="benchmark", micro_usd_per_unit=100)

_naive = Table(
    "naive_budgets",
    MetaData(),
    Column("id", String(64), primary_key=True),
    Column("budget_units", BigInteger, nullable=False),
    Column("spent_units", BigInteger, nullable=False),
)


class Meter(Protocol):
    """Sells queries to one key, within its budget."""

    def buy(self, units: int) -> bool:
        """Sell `units` queries; return False if the budget does not allow it."""
        ...


class NaiveMeter:
    """Check-then-add: read the spend, do the work, add the cost."""

    def __init__(self, engine: Engine, key_id: str) -> None:
        self._engine = engine
        self._key_id = key_id

    def buy(self, units: int) -> bool:
        with read_transaction(self._engine) as connection:
            row = connection.execute(select(_naive).where(_naive.c.id == self._key_id)).one()
        if row.spent_units + units > row.budget_units:
            return False
        time.sleep(WORK_SECONDS)
        with write_transaction(self._engine) as connection:
            connection.execute(
                update(_naive)
                .where(_naive.c.id == self._key_id)
                .values(spent_units=_naive.c.spent_units + units)
            )
        return True

    @staticmethod
    def create(engine: Engine, *, key_id: str, budget: int) -> None:
        """Create a key of this meter, and its table if it does not exist."""
        _naive.metadata.create_all(engine)
        with write_transaction(engine) as connection:
            connection.execute(insert(_naive).values(id=key_id, budget_units=budget, spent_units=0))

    @staticmethod
    def spent(engine: Engine, key_id: str) -> int:
        """Return the number of queries sold to the key."""
        with read_transaction(engine) as connection:
            spent: int = connection.execute(
                select(_naive.c.spent_units).where(_naive.c.id == key_id)
            ).scalar_one()
        return spent


class LedgerMeter:
    """The vendor's ledger: reserve, do the work, charge; retry while others hold reservations."""

    def __init__(self, ledger: Ledger, key_id: str) -> None:
        self._ledger = ledger
        self._key_id = key_id

    def buy(self, units: int) -> bool:
        while True:
            name = uuid.uuid4().hex
            purchase = Purchase(
                request_id=f"req_{name}",
                key_id=self._key_id,
                idempotency_key=name,
                payload_sha256="0" * 64,
                images=0,
                texts=units,
            )
            outcome = self._ledger.charges.reserve(purchase, PRICE)
            if isinstance(outcome, Refused):
                if not outcome.is_temporary:
                    return False
                time.sleep(WORK_SECONDS)
                continue
            assert isinstance(outcome, Reservation)
            time.sleep(WORK_SECONDS)
            self._ledger.charges.post(
                outcome,
                model="benchmark",
                model_fingerprint="benchmark",
                render=lambda entry: entry.request_id.encode(),
            )
            return True


@contextmanager
def meter(kind: str, dsn: str, secrets: dict[str, Any], key_id: str) -> Iterator[Meter]:
    """Open the meter of this kind on a database whose schema exists."""
    with open_ledger(dsn, secrets) as (engine, ledger):
        if kind == "check-then-add":
            yield NaiveMeter(engine, key_id)
        else:
            yield LedgerMeter(ledger, key_id)


def new_key(ledger: Ledger, budget: int) -> ApiKey:
    """Create a key at the vendor with this budget, in queries."""
    key = ApiKey.new()
    ledger.keys.create(key, name="benchmark", budget=budget, price_version=PRICE.version)
    return key
