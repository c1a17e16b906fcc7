"""A ledger with one key, as the tests of charges use it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from teacher_server.ledger.charges import Purchase, Reservation
from teacher_server.ledger.engine import writing
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.keys import ApiKey
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.price import Price

PRICE = Price(version="p1", micro_usd_per_unit=100)


@dataclass
class Books:
    """A ledger with one key, and a clock that the test turns."""

    engine: Engine
    ledger: Ledger
    now: list[int]
    key: ApiKey = field(default_factory=ApiKey.new)
    number: int = 0

    def open_key(self, budget: int) -> None:
        self.key = ApiKey.new()
        self.ledger.keys.create(self.key, name="n", budget=budget, price_version="p1")

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
            return b"body of " + entry.request_id.encode()

        self.ledger.charges.post(
            reservation, model="m", model_fingerprint="sha256:f", render=render
        )
        return seen[0]

    @property
    def standing(self) -> tuple[int, int, int]:
        account = self.ledger.keys.get(self.key.id)
        return account.budget_units, account.spent_units, account.reserved_units

    def refused_by_the_database(self, statement: str) -> None:
        with pytest.raises(IntegrityError), writing(self.engine) as connection:
            connection.execute(text(statement))
