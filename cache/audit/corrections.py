"""Ledger entries that are not charges: credits, and how many queries are spent by now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cache.records.receipt import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One point on which cache and ledger disagree; `line` names the entry or record."""

    line: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One correction: `line` names the entry, `corrects` the request id of the charge.

    `units` (queries) and `cost_micro_usd` are what the vendor gave back.
    """

    line: str
    corrects: str
    units: int
    cost_micro_usd: int


def entry_name(entry: Receipt) -> str:
    """Return the name of a ledger entry in messages."""
    return f"seq {entry.seq}, request {entry.request_id}"


def credits_of(ledger: Sequence[Receipt]) -> list[Credit]:
    """Return the corrections of a ledger. Their idempotency key is the corrected request's id."""
    return [
        Credit(
            line=entry_name(entry),
            corrects=entry.idempotency_key,
            units=-entry.units,
            cost_micro_usd=-entry.cost_micro_usd,
        )
        for entry in ledger
        if entry.kind == "correction"
    ]


def false_credits(ledger: Sequence[Receipt]) -> Iterator[Difference]:
    """Yield corrections of unknown charges, with negative amounts, or beyond what was charged."""
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
    """Return the highest number of queries that were ever spent, credits taken off."""
    steps = (0 if entry.kind == "grant" else entry.units for entry in ledger)
    return max(accumulate(steps, initial=0))
