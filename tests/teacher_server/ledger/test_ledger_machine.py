"""The ledger against a simple model of it, through random sequences of steps, on both databases.

The invariants I1 to I9 are checked after every step.
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
from tests.support.ledger_model import INVARIANTS, AccountModel, ModelPurchase, Snapshot
from tests.support.ledger_operations import LEASE_SECONDS, OneKeyLedger, one_key_ledger, serving_at

PRICES = (Price(version="p1", micro_usd_per_unit=100), Price(version="p2", micro_usd_per_unit=7))
UNITS = st.integers(min_value=1, max_value=6)
DAY_MS = 86_400_000
PICK = st.integers(min_value=0, max_value=99)


class LedgerMachine(RuleBasedStateMachine):
    """Charges, administration, changes of the clock and restarts, in random order, for one key."""

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
        self.model = AccountModel(period, budget, budget, period_start(period, now))

    # Requests of the client.

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
        model.is_open.append(ModelPurchase(outcome, now + LEASE_SECONDS * 1000))

    @precondition(lambda self: self.model.is_open)
    @rule(pick=PICK)
    def post(self, pick: int) -> None:
        purchase = self.model.is_open.pop(pick % len(self.model.is_open))
        self.model.work_done += 1
        purchase.receipt = self.records.post(purchase.reservation)
        self.model.renew(self.records.now[0])
        self.model.spent += purchase.reservation.units
        self.model.posted.append(purchase)

    @precondition(lambda self: self.model.gone or self.model.posted)
    @rule(pick=PICK)
    def post_after_the_end(self, pick: int) -> None:
        resolved = self.model.gone + self.model.posted
        with pytest.raises(ReservationGone):
            self.records.post(resolved[pick % len(resolved)].reservation)

    @precondition(lambda self: self.model.is_open)
    @rule(pick=PICK)
    def void(self, pick: int) -> None:
        purchase = self.model.is_open.pop(pick % len(self.model.is_open))
        assert self.ledger.charges.void(purchase.reservation.purchase.request_id)
        assert not self.ledger.charges.void(purchase.reservation.purchase.request_id)
        self.model.gone.append(purchase)

    @precondition(lambda self: self.model.with_key)
    @rule(pick=PICK, price=st.sampled_from(PRICES))
    def retry(self, pick: int, price: Price) -> None:
        with_key = self.model.with_key
        purchase = with_key[pick % len(with_key)]
        again = self.records.purchase(9, idempotency_key=purchase.idempotency_key)
        outcome = self.ledger.charges.reserve(again, price)
        assert outcome == purchase.answer

    @precondition(lambda self: self.model.gone)
    @rule(pick=PICK)
    def retry_what_was_voided(self, pick: int) -> None:
        purchase = self.model.gone[pick % len(self.model.gone)]
        key = purchase.idempotency_key
        with_key = self.model.with_key
        if all(other.idempotency_key != key for other in with_key):
            self._reserve(
                self.records.purchase(purchase.reservation.units, idempotency_key=key), PRICES[0]
            )

    @precondition(lambda self: self.model.with_key)
    @rule(pick=PICK)
    def reuse_a_key_for_another_payload(self, pick: int) -> None:
        with_key = self.model.with_key
        first = with_key[pick % len(with_key)].reservation.purchase
        other = replace(self.records.purchase(), payload_sha256="e" * 64)
        other = replace(other, idempotency_key=first.idempotency_key)
        assert self.ledger.charges.reserve(other, PRICES[0]) == KeyReused()

    # Administration.

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
        purchase = self.model.posted[pick % len(self.model.posted)]
        receipt = purchase.receipt
        assert receipt is not None
        fits = (
            purchase.refunded_units + units <= receipt.units
            and purchase.refunded_cost + cost <= receipt.cost_micro_usd
            and units + cost > 0
        )
        if not fits:
            with pytest.raises(CorrectionRefused):
                self._correct(receipt, units, cost)
            return
        self._correct(receipt, units, cost)
        self.model.renew(self.records.now[0])
        purchase.refunded_units += units
        purchase.refunded_cost += cost
        self.model.spent -= units

    def _correct(self, receipt: LedgerEntry, units: int, cost: int) -> None:
        self.ledger.records.correct(
            receipt.request_id, units=units, cost_micro_usd=cost, reason="r", actor="ann"
        )

    @rule(age=st.sampled_from([0, 30_000]))
    def purge(self, age: int) -> None:
        moment = self.records.now[0] - age
        self.ledger.records.purge(moment)
        for purchase in self.model.posted:
            assert purchase.receipt is not None
            purchase.is_purged |= purchase.receipt.created_ms < moment

    # Time and crashes.

    @rule(
        ms=st.sampled_from([1000, 30_000, 60_001, 86_400_000, 40 * 86_400_000, -5000, -86_400_000])
    )
    def set_the_clock(self, ms: int) -> None:
        self.records.now[0] = max(0, self.records.now[0] + ms)

    @rule()
    def sweep(self) -> None:
        late = [s for s in self.model.is_open if s.lease_until < self.records.now[0]]
        assert self.ledger.sweep() == len(late)
        self._void(late)

    @rule()
    def use_the_key(self) -> None:
        account = self.ledger.keys.authenticate(self.records.key)
        self.model.renew(self.records.now[0])
        assert account is not None
        assert account.allowance_units - account.used_units == self.model.granted - self.model.spent

    @rule()
    def crash_and_restart(self) -> None:
        """Reservations stay in the database: a dead server frees only its lock."""
        self.stack.close()
        engine, self.records.ledger = self.stack.enter_context(
            serving_at(self.records.dsn, clock=lambda: self.records.now[0])
        )
        self.records.engine = engine
        self._void(list(self.model.is_open))

    def _void(self, purchases: list[ModelPurchase]) -> None:
        self.model.gone += purchases
        self.model.is_open = [
            purchase for purchase in self.model.is_open if purchase not in purchases
        ]

    @invariant()
    def every_invariant_holds(self) -> None:
        one_key, with_key = self.ledger.records, self.model.with_key
        snapshot = Snapshot(
            account=self.records.account,
            entries=self.records.entries,
            entries_before=self.seen,
            answers=[
                one_key.answer(self.records.key.id, purchase.idempotency_key)
                for purchase in with_key
            ],
            audit=one_key.verify(),
        )
        self.seen = snapshot.entries
        for check in INVARIANTS:
            check(snapshot, self.model)

    def teardown(self) -> None:
        self.stack.close()


def test_no_sequence_of_steps_breaks_an_invariant(dsn: str) -> None:
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
