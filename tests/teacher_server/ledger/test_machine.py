"""The ledger against a simple model of it, through random sequences of steps, on both databases.

I1 to I9 are the vendor's promises; each is checked after every step.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from benchmarks.support.postgresql import empty
from teacher_server.errors import CorrectionRefused, GrantReused, ReservationGone
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger
from teacher_server.ledger.period import period_start
from teacher_server.ledger.purchase import KeyReused, Price, Purchase, Refused, Reservation
from tests.support.ledger_model import PROMISES, Look, Model, Sale
from tests.support.ledger_operations import LEASE_SECONDS, OneKeyLedger, one_key_ledger, serving_at

PRICES = (Price(version="p1", micro_usd_per_unit=100), Price(version="p2", micro_usd_per_unit=7))
UNITS = st.integers(min_value=1, max_value=6)
DAY_MS = 86_400_000
PICK = st.integers(min_value=0, max_value=99)


class LedgerMachine(RuleBasedStateMachine):
    """One key of a vendor that sells, dies and starts again."""

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.records: OneKeyLedger = self.stack.enter_context(one_key_ledger(dsn))
        self.seen: list[LedgerEntry] = []

    @property
    def ledger(self) -> Ledger:
        return self.records.ledger

    @initialize(budget=st.integers(0, 20), period=st.sampled_from(["none", "day", "month"]))
    def open_key(self, budget: int, period: str) -> None:
        now = self.records.now[0]
        self.records.open_key(budget, period=period)
        self.model = Model(period, budget, budget, period_start(period, now))

    # What a customer does.

    @rule(units=UNITS, price=st.sampled_from(PRICES))
    def reserve(self, units: int, price: Price) -> None:
        self._reserve(self.records.purchase(units), price)

    def _reserve(self, purchase: Purchase, price: Price) -> None:
        model, now, units = self.model, self.records.now[0], purchase.images
        outcome = self.ledger.charges.reserve(purchase, price)
        model.renew(now)
        left = model.granted - model.spent
        if model.held + units > left:
            assert outcome == Refused(needed=units, remaining=left, is_temporary=units <= left)
            return
        assert isinstance(outcome, Reservation)
        model.is_open.append(Sale(outcome, now + LEASE_SECONDS * 1000))

    @precondition(lambda self: self.model.is_open)
    @rule(pick=PICK)
    def post(self, pick: int) -> None:
        sale = self.model.is_open.pop(pick % len(self.model.is_open))
        self.model.work_done += 1
        sale.receipt = self.records.post(sale.reservation)
        self.model.renew(self.records.now[0])
        self.model.spent += sale.reservation.units
        self.model.posted.append(sale)

    @precondition(lambda self: self.model.gone or self.model.posted)
    @rule(pick=PICK)
    def post_too_late(self, pick: int) -> None:
        resolved = self.model.gone + self.model.posted
        with pytest.raises(ReservationGone):
            self.records.post(resolved[pick % len(resolved)].reservation)

    @precondition(lambda self: self.model.is_open)
    @rule(pick=PICK)
    def void(self, pick: int) -> None:
        sale = self.model.is_open.pop(pick % len(self.model.is_open))
        assert self.ledger.charges.void(sale.reservation.purchase.request_id)
        assert not self.ledger.charges.void(sale.reservation.purchase.request_id)
        self.model.gone.append(sale)

    @precondition(lambda self: self.model.live)
    @rule(pick=PICK, price=st.sampled_from(PRICES))
    def retry(self, pick: int, price: Price) -> None:
        live = self.model.live
        sale = live[pick % len(live)]
        again = self.records.purchase(9, idempotency_key=sale.idempotency_key)
        outcome = self.ledger.charges.reserve(again, price)
        assert outcome == sale.answer

    @precondition(lambda self: self.model.gone)
    @rule(pick=PICK)
    def retry_what_was_voided(self, pick: int) -> None:
        sale = self.model.gone[pick % len(self.model.gone)]
        key = sale.idempotency_key
        live = self.model.live
        if all(other.idempotency_key != key for other in live):
            self._reserve(
                self.records.purchase(sale.reservation.units, idempotency_key=key), PRICES[0]
            )

    @precondition(lambda self: self.model.live)
    @rule(pick=PICK)
    def reuse_a_key_for_another_payload(self, pick: int) -> None:
        live = self.model.live
        first = live[pick % len(live)].reservation.purchase
        other = replace(self.records.purchase(), payload_sha256="e" * 64)
        other = replace(other, idempotency_key=first.idempotency_key)
        assert self.ledger.charges.reserve(other, PRICES[0]) == KeyReused()

    # What the vendor does.

    @rule(units=UNITS, grant_id=st.sampled_from([None, "g1", "g2", "g3"]))
    def top_up(self, units: int, grant_id: str | None) -> None:
        model = self.model
        before = model.top_ups.get(grant_id)
        if before not in (None, units):
            with pytest.raises(GrantReused):
                self._top_up(units, grant_id)
            return
        self._top_up(units, grant_id)
        model.renew(self.records.now[0])
        if before is None:
            model.granted += units
        if grant_id is not None:
            model.top_ups[grant_id] = units

    def _top_up(self, units: int, grant_id: str | None) -> None:
        self.ledger.keys.top_up(
            self.records.key.id, units=units, price_version="p1", grant_id=grant_id
        )

    @precondition(lambda self: self.model.posted)
    @rule(pick=PICK, units=st.integers(0, 6), cost=st.integers(0, 600))
    def correct(self, pick: int, units: int, cost: int) -> None:
        sale = self.model.posted[pick % len(self.model.posted)]
        receipt = sale.receipt
        assert receipt is not None
        fits = (
            sale.given_units + units <= receipt.units
            and sale.given_cost + cost <= receipt.cost_micro_usd
            and units + cost > 0
        )
        if not fits:
            with pytest.raises(CorrectionRefused):
                self._correct(receipt, units, cost)
            return
        self._correct(receipt, units, cost)
        self.model.renew(self.records.now[0])
        sale.given_units += units
        sale.given_cost += cost
        self.model.spent -= units

    def _correct(self, receipt: LedgerEntry, units: int, cost: int) -> None:
        self.ledger.records.correct(
            receipt.request_id, units=units, cost_micro_usd=cost, reason="r", actor="ann"
        )

    @rule(age=st.sampled_from([0, 30_000]))
    def purge(self, age: int) -> None:
        moment = self.records.now[0] - age
        self.ledger.records.purge(moment)
        for sale in self.model.posted:
            assert sale.receipt is not None
            sale.is_purged |= sale.receipt.created_ms < moment

    # What time and accidents do.

    @rule(
        ms=st.sampled_from([1000, 30_000, 60_001, 86_400_000, 40 * 86_400_000, -5000, -86_400_000])
    )
    def turn_the_clock(self, ms: int) -> None:
        self.records.now[0] = max(0, self.records.now[0] + ms)

    @rule()
    def sweep(self) -> None:
        late = [s for s in self.model.is_open if s.lease_until < self.records.now[0]]
        assert self.ledger.sweep() == len(late)
        self._lose(late)

    @rule()
    def use_the_key(self) -> None:
        account = self.ledger.keys.authenticate(self.records.key)
        self.model.renew(self.records.now[0])
        assert account is not None
        assert account.allowance_units - account.used_units == self.model.granted - self.model.spent

    @rule()
    def crash_and_start_again(self) -> None:
        """Whatever was reserved is left as it lies: the lock is all that a dead server frees."""
        self.stack.close()
        engine, self.records.ledger = self.stack.enter_context(
            serving_at(self.records.dsn, clock=lambda: self.records.now[0])
        )
        self.records.engine = engine
        self._lose(list(self.model.is_open))

    def _lose(self, sales: list[Sale]) -> None:
        self.model.gone += sales
        self.model.is_open = [sale for sale in self.model.is_open if sale not in sales]

    @invariant()
    def every_promise_holds(self) -> None:
        one_key, live = self.ledger.records, self.model.live
        look = Look(
            account=self.records.account,
            entries=self.records.entries,
            entries_before=self.seen,
            answers=[one_key.answer(self.records.key.id, sale.idempotency_key) for sale in live],
            audit=one_key.verify(),
        )
        self.seen = look.entries
        for promise in PROMISES:
            promise(look, self.model)

    def teardown(self) -> None:
        self.stack.close()


def test_no_sequence_of_steps_breaks_a_promise(dsn: str) -> None:
    numbers = itertools.count()

    def without_rows() -> str:
        if dsn.startswith("sqlite"):
            return f"{dsn}.{next(numbers)}"
        empty(dsn)
        return dsn

    class OnThisDatabase(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(without_rows())

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
