"""A model of the ledger in simple arithmetic, and the invariants I1 to I9 of the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

from teacher_server.ledger.account import Account
from teacher_server.ledger.audit import Audit
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.period import period_start
from teacher_server.ledger.purchase import InFlight, Purged, Replay, Reservation
from tests.support.ledger_operations import body_of


@dataclass
class ModelPurchase:
    """The model's record of one purchase."""

    reservation: Reservation
    lease_until: int
    receipt: LedgerEntry | None = None
    refunded_units: int = 0
    refunded_cost: int = 0
    is_purged: bool = False

    @property
    def idempotency_key(self) -> str:
        return self.reservation.purchase.idempotency_key

    @property
    def answer(self) -> Replay | Purged | InFlight:
        """The outcome of a repetition."""
        if self.receipt is None:
            return InFlight()
        if self.is_purged:
            return Purged(self.receipt.request_id)
        return Replay(body_of(self.receipt))


@dataclass
class AccountModel:
    """The account as plain arithmetic."""

    period: str
    allowance: int
    granted: int
    start: int
    spent: int = 0
    base: int = 0
    is_open: list[ModelPurchase] = field(default_factory=list)
    posted: list[ModelPurchase] = field(default_factory=list)
    gone: list[ModelPurchase] = field(default_factory=list)
    top_ups: dict[str | None, int] = field(default_factory=dict)
    work_done: int = 0

    @property
    def with_key(self) -> list[ModelPurchase]:
        """The purchases whose Idempotency-Key is in use."""
        return self.posted + self.is_open

    @property
    def held(self) -> int:
        return sum(purchase.reservation.units for purchase in self.is_open)

    def renew(self, now: int) -> None:
        start = period_start(self.period, now)
        if start > self.start:
            self.granted += max(0, self.allowance - (self.granted - self.spent))
            self.start, self.base = start, self.spent


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The ledger at one moment, and its chain the moment before."""

    account: Account
    entries: list[LedgerEntry]
    entries_before: list[LedgerEntry]
    answers: list[object]
    audit: Audit

    @property
    def charges(self) -> list[LedgerEntry]:
        return [entry for entry in self.entries if entry.kind == "charge"]


def i1_spent_and_reserved_never_exceed_the_budget(snapshot: Snapshot, model: AccountModel) -> None:
    account = snapshot.account
    found = (account.budget_units, account.spent_units, account.reserved_units)
    assert found == (model.granted, model.spent, model.held)
    assert account.remaining_units >= 0


def i2_each_idempotency_key_is_charged_at_most_once(
    snapshot: Snapshot, model: AccountModel
) -> None:
    keys = [entry.idempotency_key for entry in snapshot.charges]
    assert len(keys) == len(set(keys)) == len(model.posted)


def i3_every_charged_answer_is_replayed_or_reported_as_purged(
    snapshot: Snapshot, model: AccountModel
) -> None:
    assert snapshot.answers == [purchase.answer for purchase in model.with_key]


def i4_only_answered_purchases_are_charged(snapshot: Snapshot, model: AccountModel) -> None:
    assert snapshot.charges == [purchase.receipt for purchase in model.posted]


def i5_account_and_ledger_equal_the_sum_of_the_receipts(
    snapshot: Snapshot, model: AccountModel
) -> None:
    receipts = sum(purchase.receipt.units for purchase in model.posted if purchase.receipt)
    refunded = sum(purchase.refunded_units for purchase in model.posted)
    assert sum(e.units for e in snapshot.entries if e.kind == "correction") == -refunded
    assert snapshot.account.spent_units == receipts - refunded


def i6_only_open_requests_hold_reservations(snapshot: Snapshot, model: AccountModel) -> None:
    assert snapshot.account.reserved_units == model.held


def i7_figures_are_integers_at_the_price_of_the_reservation(
    snapshot: Snapshot, model: AccountModel
) -> None:
    for purchase in model.posted:
        receipt, price = purchase.receipt, purchase.reservation.price
        assert receipt is not None
        assert receipt.price_version == price.version
        assert receipt.cost_micro_usd == purchase.reservation.units * price.micro_usd_per_unit
    for entry in snapshot.entries:
        figures = (entry.seq, entry.images, entry.texts, entry.units, entry.cost_micro_usd)
        assert all(type(figure) is int for figure in (*figures, entry.balance_units))


def i8_the_chain_only_grows_and_adds_up(snapshot: Snapshot, model: AccountModel) -> None:
    assert snapshot.entries[: len(snapshot.entries_before)] == snapshot.entries_before
    assert snapshot.audit.faults == ()
    assert snapshot.audit.units_charged - snapshot.audit.units_corrected == model.spent


def i9_work_is_done_only_for_reserved_units(snapshot: Snapshot, model: AccountModel) -> None:
    assert model.work_done == len(snapshot.charges)


INVARIANTS = (
    i1_spent_and_reserved_never_exceed_the_budget,
    i2_each_idempotency_key_is_charged_at_most_once,
    i3_every_charged_answer_is_replayed_or_reported_as_purged,
    i4_only_answered_purchases_are_charged,
    i5_account_and_ledger_equal_the_sum_of_the_receipts,
    i6_only_open_requests_hold_reservations,
    i7_figures_are_integers_at_the_price_of_the_reservation,
    i8_the_chain_only_grows_and_adds_up,
    i9_work_is_done_only_for_reserved_units,
)
