"""What a ledger says besides its charges: what was given back, and what is spent by now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cache.records.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line on which the two sides do not agree: which, and how."""

    line: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One correction: what the vendor gave back of a charge, and the line that says so."""

    line: str
    corrects: str
    units: int
    cost_micro_usd: int


def line_name(entry: Receipt) -> str:
    """How a line is named in a message."""
    return f"seq {entry.seq}, request {entry.request_id}"


def credits_of(ledger: Sequence[Receipt]) -> list[Credit]:
    """The corrections of a ledger: each names, as its idempotency key, the request it corrects."""
    return [
        Credit(
            line=line_name(entry),
            corrects=entry.idempotency_key,
            units=-entry.units,
            cost_micro_usd=-entry.cost_micro_usd,
        )
        for entry in ledger
        if entry.kind == "correction"
    ]


def false_credits(ledger: Sequence[Receipt]) -> Iterator[Difference]:
    """Corrections of charges that do not exist, that take instead of give, or give too much."""
    left = {
        entry.request_id: (entry.units, entry.cost_micro_usd)
        for entry in ledger
        if entry.kind == "charge"
    }
    for credit in credits_of(ledger):
        if credit.corrects not in left:
            detail = f"corrects request {credit.corrects!r}, which the ledger does not charge"
            yield Difference(line=credit.line, detail=detail)
            continue
        if credit.units < 0 or credit.cost_micro_usd < 0:
            detail = f"takes {-credit.units} queries and {-credit.cost_micro_usd} micro-USD more"
            yield Difference(line=credit.line, detail=detail)
        units, cost_micro_usd = left[credit.corrects]
        units, cost_micro_usd = units - credit.units, cost_micro_usd - credit.cost_micro_usd
        left[credit.corrects] = units, cost_micro_usd
        if units < 0 or cost_micro_usd < 0:
            detail = f"gives back more of request {credit.corrects} than was charged"
            yield Difference(line=credit.line, detail=detail)


def most_spent(ledger: Sequence[Receipt]) -> int:
    """The most queries that were ever spent by this ledger, credits taken off."""
    steps = (0 if entry.kind == "grant" else entry.units for entry in ledger)
    return max(accumulate(steps, initial=0))
