"""The ledger as simple arithmetic, and the vendor's promises I1 to I9 about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from teacher_server.ledger.account import Account
from teacher_server.ledger.audit import Audit
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.period import period_start
from teacher_server.ledger.purchase import InFlight, Purged, Replay, Reservation
from tests.support.ledger_operations import body_of


@dataclass
class Sale:
    """The model's record of one purchase."""

    reservation: Reservation
    lease_until: int
    receipt: LedgerEntry | None = None
    given_units: int = 0
    given_cost: int = 0
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
class Model:
    """The account as plain arithmetic."""

    period: str
    allowance: int
    granted: int
    start: int
    spent: int = 0
    base: int = 0
    is_open: list[Sale] = field(default_factory=list)
    posted: list[Sale] = field(default_factory=list)
    gone: list[Sale] = field(default_factory=list)
    top_ups: dict[str | None, int] = field(default_factory=dict)
    work_done: int = 0

    @property
    def live(self) -> list[Sale]:
        """The sales that occupy their Idempotency-Key."""
        return self.posted + self.is_open

    @property
    def held(self) -> int:
        return sum(sale.reservation.units for sale in self.is_open)

    def renew(self, now: int) -> None:
        start = period_start(self.period, now)
        if start > self.start:
            self.granted += max(0, self.allowance - (self.granted - self.spent))
            self.start, self.base = start, self.spent


@dataclass(frozen=True, kw_only=True)
class Look:
    """The ledger at one moment, and its chain the moment before."""

    account: Account
    entries: list[LedgerEntry]
    entries_before: list[LedgerEntry]
    answers: list[object]
    audit: Audit

    @property
    def charges(self) -> list[LedgerEntry]:
        return [entry for entry in self.entries if entry.kind == "charge"]


def i1_spent_and_reserved_stay_within_the_budget_to_the_unit(look: Look, model: Model) -> None:
    account = look.account
    found = (account.budget_units, account.spent_units, account.reserved_units)
    assert found == (model.granted, model.spent, model.held)
    assert account.remaining_units >= 0


def i2_each_idempotency_key_is_charged_at_most_once(look: Look, model: Model) -> None:
    keys = [entry.idempotency_key for entry in look.charges]
    assert len(keys) == len(set(keys)) == len(model.posted)


def i3_whatever_was_charged_can_be_had_again_or_is_said_to_be_purged(
    look: Look, model: Model
) -> None:
    assert look.answers == [sale.answer for sale in model.live]


def i4_nothing_is_charged_but_what_was_answered(look: Look, model: Model) -> None:
    assert look.charges == [sale.receipt for sale in model.posted]


def i5_the_ledger_is_the_account_is_the_sum_of_the_receipts(look: Look, model: Model) -> None:
    receipts = sum(sale.receipt.units for sale in model.posted if sale.receipt)
    given = sum(sale.given_units for sale in model.posted)
    assert sum(e.units for e in look.entries if e.kind == "correction") == -given
    assert look.account.spent_units == receipts - given


def i6_nothing_stays_reserved_that_is_not_in_flight(look: Look, model: Model) -> None:
    assert look.account.reserved_units == model.held


def i7_figures_are_integers_at_the_price_of_the_reservation(look: Look, model: Model) -> None:
    for sale in model.posted:
        receipt, price = sale.receipt, sale.reservation.price
        assert receipt is not None
        assert receipt.price_version == price.version
        assert receipt.cost_micro_usd == sale.reservation.units * price.micro_usd_per_unit
    for entry in look.entries:
        figures = (entry.seq, entry.images, entry.texts, entry.units, entry.cost_micro_usd)
        assert all(type(figure) is int for figure in (*figures, entry.balance_units))


def i8_the_chain_only_grows_and_adds_up(look: Look, model: Model) -> None:
    assert look.entries[: len(look.entries_before)] == look.entries_before
    assert look.audit.faults == ()
    assert look.audit.units_charged - look.audit.units_corrected == model.spent


def i9_work_is_only_done_for_units_that_were_reserved(look: Look, model: Model) -> None:
    assert model.work_done == len(look.charges)


PROMISES = (
    i1_spent_and_reserved_stay_within_the_budget_to_the_unit,
    i2_each_idempotency_key_is_charged_at_most_once,
    i3_whatever_was_charged_can_be_had_again_or_is_said_to_be_purged,
    i4_nothing_is_charged_but_what_was_answered,
    i5_the_ledger_is_the_account_is_the_sum_of_the_receipts,
    i6_nothing_stays_reserved_that_is_not_in_flight,
    i7_figures_are_integers_at_the_price_of_the_reservation,
    i8_the_chain_only_grows_and_adds_up,
    i9_work_is_only_done_for_units_that_were_reserved,
)
