"""The arithmetic of reserve, commit and abandon against a simple model."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cache.errors import AlreadyPaid, AnswerWrittenOff, ClientBudgetExceeded, IntentConflict
from cache.integrity.repair import repair
from cache.integrity.verify import verify
from cache.paid_cache import Intent, PaidCache, Spend
from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import Receipt
from cache.storage.receipts_file import read_copies
from cache.storage.record_codec import receipt_name
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    image,
    intent_of,
    overwrite,
    rows_of,
    tamper,
)

NAMES: Final = ("a", "b", "c")
names = st.sampled_from(NAMES)


class SpendMachine(RuleBasedStateMachine):
    """Any order of any calls, restarts included: the cache and the model agree after each."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="spend-machine-"))
        self.cache = PaidCache.open(self.folder / "cache")
        self.ledger = Ledger()
        self.open: dict[str, Intent] = {}
        self.receipts: dict[str, Receipt] = {}
        self.charged: dict[str, tuple[Intent, Receipt]] = {}
        self.bought: set[EmbeddingKey] = set()
        self.lost: dict[str, Intent] = {}

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.cache.close()
        shutil.rmtree(self.folder)

    @property
    def paid_units(self) -> int:
        """What the model has paid for."""
        return sum(receipt.units for receipt in self.receipts.values())

    @property
    def in_flight(self) -> int:
        """The model's queries in open purchases."""
        return sum(intent.units for intent in self.open.values())

    @property
    def written_off_units(self) -> int:
        """The model's written-off queries without a receipt."""
        return sum(loss.units for name, loss in self.lost.items() if name not in self.receipts)

    def intent(self, name: str) -> Intent:
        """The purchase of that name: always the same, and two of them share an image."""
        number = NAMES.index(name)
        numbers = range(number, 2 * number + 2)
        return intent_of(*(image(n) for n in numbers), name=name)

    @rule(name=names, budget=st.integers(0, 14))
    def reserve(self, name: str, budget: int) -> None:
        """Within the budget it is open, else nothing has changed."""
        intent = self.intent(name)
        left = budget - self.paid_units - self.in_flight - self.written_off_units
        if name in self.receipts:
            with pytest.raises(AlreadyPaid):
                self.cache.reserve(intent, budget=budget)
        elif name in self.lost:
            with pytest.raises(AnswerWrittenOff):
                self.cache.reserve(intent, budget=budget)
        elif name in self.open or intent.units <= left:
            self.cache.reserve(intent, budget=budget)
            self.open[name] = intent
        else:
            with pytest.raises(ClientBudgetExceeded) as caught:
                self.cache.reserve(intent, budget=budget)
            assert caught.value.remaining == max(0, left) < caught.value.needed

    @rule(name=names)
    def reserve_something_else_under_the_same_key(self, name: str) -> None:
        """Never possible while one is open."""
        if name in self.open:
            with pytest.raises(IntentConflict):
                self.cache.reserve(replace(self.intent(name), units=99), budget=10_000)

    @rule(name=names)
    def commit(self, name: str) -> None:
        """Any number of times, with or without a reservation: it counts once."""
        intent, receipt = self.charged.get(name) or (self.intent(name), None)
        receipt = receipt or self.ledger.charge(intent)
        self.charged[name] = (intent, receipt)
        self.cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
        self.receipts[name] = receipt
        self.open.pop(name, None)
        self.bought.update(intent.keys)

    @rule(name=names)
    def abandon(self, name: str) -> None:
        """Open or not."""
        self.cache.abandon(name)
        self.open.pop(name, None)

    @rule(name=names)
    def write_off(self, name: str) -> None:
        """Open or not, answered or not: it is written off once and counts once."""
        self.cache.write_off(self.intent(name), account=ACCOUNT, detail="purged")
        self.lost[name] = self.intent(name)
        self.open.pop(name, None)

    @rule(name=names, is_corrupt=st.booleans())
    def damage_repair_and_replay(self, name: str, is_corrupt: bool) -> None:
        """A row and a receipt are deleted or damaged: both are restored."""
        if name not in self.receipts:
            return
        key, receipt = self.intent(name).keys[0], self.receipts[name]
        for record in (key.digest, receipt_name(ACCOUNT, receipt.request_id)):
            if is_corrupt:
                overwrite(self.folder / "cache", record, b"rubbish")
            else:
                tamper(self.folder / "cache", "DELETE FROM Cache WHERE key = ?", record)
        repair(self.folder / "cache")
        with self.cache.transaction() as changes:
            for copy in read_copies(self.folder / "cache").purchases.values():
                for row in rows_of(copy.intent, copy.receipt):
                    changes.add_row(row)

    @rule()
    def restart(self) -> None:
        """The client is closed and started again."""
        self.cache.close()
        self.cache = PaidCache.open(self.folder / "cache")

    @invariant()
    def the_spend_is_the_sum_of_the_receipts_and_of_the_open_intents(self) -> None:
        """To the last query and micro-USD."""
        assert self.cache.spend_on_record() == Spend(
            receipt_units=self.paid_units,
            open_units=self.in_flight,
            cost_micro_usd=100 * self.paid_units,
            written_off_units=self.written_off_units,
        )

    @invariant()
    def the_records_are_those_of_the_model(self) -> None:
        """No purchase lost, none doubled."""
        assert {intent.idempotency_key for intent in self.cache.open_intents()} == set(self.open)
        assert {r.idempotency_key: r for r in self.cache.receipts()} == self.receipts
        assert {row.key for row in self.cache.rows()} == self.bought
        assert {write_off.idempotency_key for write_off in self.cache.write_offs()} == set(
            self.lost
        )

    @invariant()
    def the_cache_is_sound(self) -> None:
        """Totals recomputed, rows per request counted."""
        assert verify(self.cache).problems == ()


TestSpendMachine = SpendMachine.TestCase
TestSpendMachine.settings = settings(max_examples=12, stateful_step_count=14, deadline=None)
