"""What two caches hold that the other does not, or one cache at two dates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console

from cache.errors import ReportImpossible
from cache.records.money import dollars
from cache.records.purchase_records import Intent, PaidEmbedding, StoredReceipt, WriteOff
from cache.reports.spend import SpendTotals, iso_time
from cache.reports.terminal import show_table
from cache.storage.reader import CacheReader

Record = dict[str, Any]
PARTS: Final = ("receipts", "rows", "write_offs", "open_purchases")
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The outcome of a comparison, in JSON values; `a` and `b` have the totals of each side.

    `only_in_a` and `only_in_b` list records by part: receipts, rows, write-offs, open purchases.
    `rows_that_differ` have one key and two vectors. Costs are micro-USD, units are queries.
    """

    a: Record
    b: Record
    only_in_a: dict[str, list[Record]]
    only_in_b: dict[str, list[Record]]
    rows_that_differ: list[Record]
    spend_by_model: list[Record]

    @property
    def is_equal(self) -> bool:
        """Whether both sides hold the same."""
        only = [*self.only_in_a.values(), *self.only_in_b.values()]
        return not self.rows_that_differ and not any(only)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheState:
    """A cache, or what it held before a time in Unix milliseconds.

    Without `is_dated`, its open purchases belong to it. A cache does not keep which purchases were
    open at an earlier time.
    """

    cache: CacheReader
    is_dated: bool = False
    before_ms: int | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        folder = str(self.cache.folder)
        return folder if self.before_ms is None else f"{folder} before {iso_time(self.before_ms)}"

    def rows(self) -> Iterator[PaidEmbedding]:
        """Yield the embeddings bought by then."""
        return (row for row in self.cache.rows() if self._is_there(row.created_ms))

    def receipts(self) -> dict[tuple[str, str], StoredReceipt]:
        """Return the receipts by key id and hash, which do not depend on the vendor's address."""
        stored = self.cache.stored_receipts()
        return {one.charge: one for one in stored if self._is_there(one.receipt.created_ms)}

    def write_offs(self) -> dict[str, WriteOff]:
        """Return the write-offs by idempotency key."""
        found = self.cache.write_offs()
        return {one.idempotency_key: one for one in found if self._is_there(one.created_ms)}

    def open_purchases(self) -> dict[str, Intent]:
        """Return the open purchases by idempotency key."""
        found = [] if self.is_dated else self.cache.open_intents()
        return {one.idempotency_key: one for one in found}

    def _is_there(self, created_ms: int) -> bool:
        return self.before_ms is None or created_ms < self.before_ms


def sides_of(
    caches: Sequence[CacheReader], *, since: str | None, until: str | None
) -> tuple[CacheState, CacheState]:
    """Return two caches as they are, or one before the date `since` and before `until` (or now).

    Raises ReportImpossible for dates with two caches, for neither, and for what is not a date.
    """
    if len(caches) > 1:
        if since or until:
            message = "--since and --until compare one cache with itself: name one folder"
            raise ReportImpossible(message)
        return CacheState(cache=caches[0]), CacheState(cache=caches[1])
    if since is None:
        message = "diff compares two caches, A and B, or one with itself --since a date"
        raise ReportImpossible(message)
    first, last = unix_ms(since), None if until is None else unix_ms(until)
    if last is not None and last < first:
        message = f"--until {until} is before --since {since}"
        raise ReportImpossible(message)
    earlier, later = (
        CacheState(cache=caches[0], is_dated=True, before_ms=before) for before in (first, last)
    )
    return earlier, later


def compare(a: CacheState, b: CacheState) -> Comparison:
    """Compare all that two states hold, each as it is at one moment. Changes neither.

    A receipt is the same at any address of its vendor. A row is the same if key and vector are,
    whichever request paid for it.
    """
    with ExitStack() as snapshots:
        for cache in {id(side.cache): side.cache for side in (a, b)}.values():
            snapshots.enter_context(cache.snapshot())
        sides = a, b
        receipts = [side.receipts() for side in sides]
        vectors = [dict(_vector_digests(side)) for side in sides]
        only: list[dict[str, list[Record]]] = []
        for side, mine, other in ((0, a, b), (1, b, a)):
            only.append(
                {
                    "receipts": _only(receipts[side], receipts[1 - side].keys(), _receipt),
                    "rows": _described(mine, vectors[side].keys() - vectors[1 - side].keys()),
                    "write_offs": _only(mine.write_offs(), other.write_offs().keys(), _unanswered),
                    "open_purchases": _only(
                        mine.open_purchases(), other.open_purchases().keys(), _unanswered
                    ),
                }
            )
        both = vectors[0].keys() & vectors[1].keys()
        return Comparison(
            a=_totals(a, receipts[0], len(vectors[0])),
            b=_totals(b, receipts[1], len(vectors[1])),
            only_in_a=only[0],
            only_in_b=only[1],
            rows_that_differ=_described(
                a, {key for key in both if vectors[0][key] != vectors[1][key]}
            ),
            spend_by_model=list(_spend_by_model(*map(_by_model, receipts))),
        )


def unix_ms(text: str) -> int:
    """Return a date (its beginning in UTC) or an ISO 8601 time as Unix milliseconds.

    Raises ReportImpossible if it is neither.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a date: write 2026-01-31 or 2026-01-31T12:00:00Z"
        raise ReportImpossible(message) from error
    in_utc = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(in_utc.timestamp() * 1000)


def comparison_json(result: Comparison) -> Record:
    """Return the keys of `diff --json`."""
    return {"is_equal": result.is_equal, **asdict(result)}


def show_comparison(out: Console, result: Comparison) -> None:
    """Print what only one side has, the spend by model, and whether both are equal."""
    for side, only in (("A", result.only_in_a), ("B", result.only_in_b)):
        for part in PARTS:
            if records := only[part]:
                title = f"{part.replace('_', ' ')} only in {side}: {len(records)}"
                _show_first(out, title, records)
    if result.rows_that_differ:
        title = f"rows with different vectors: {len(result.rows_that_differ)}"
        _show_first(out, title, result.rows_that_differ)
    columns = ("model", "model_fingerprint", "units_in_a", "units_in_b")
    costs = ("cost_micro_usd_in_a", "cost_micro_usd_in_b", "difference_micro_usd")
    show_table(out, "Spend by model", (*columns, *costs), result.spend_by_model)
    for name, total in (("A", result.a), ("B", result.b)):
        out.print(
            f"{name}: {total['name']}: {total['rows']} embeddings, {total['receipts']} receipts,"
            f" {total['units']} queries, {total['cost_micro_usd']} micro-USD"
            f" ({total['cost_usd']} USD).",
            soft_wrap=True,
        )
    out.print("A and B are equal." if result.is_equal else "A and B are DIFFERENT.")


def _show_first(out: Console, title: str, records: list[Record]) -> None:
    show_table(out, title, list(records[0]), records[:_SHOWN])
    if len(records) > _SHOWN:
        out.print(f"and {len(records) - _SHOWN} more: --json lists all of them.")


def _vector_digests(state: CacheState) -> Iterator[tuple[bytes, bytes]]:
    for row in state.rows():
        vector = row.vector.astype("<f4", copy=False).tobytes()
        yield row.key.digest, hashlib.sha256(vector).digest()


def _only(
    mine: Mapping[Any, Any], others: Set[Any], describe: Callable[[Any], Record]
) -> list[Record]:
    return [describe(record) for name, record in mine.items() if name not in others]


def _described(state: CacheState, digests: Set[bytes]) -> list[Record]:
    """The rows with these digests, read once more: their fields need not be held for all rows."""
    if not digests:
        return []
    return [
        {"modality": row.key.modality, "item": row.key.item, "view": row.key.view}
        | {"model": row.model, "request_id": row.request_id, "digest": row.key.digest.hex()}
        for row in state.rows()
        if row.key.digest in digests
    ]


def _receipt(stored: StoredReceipt) -> Record:
    receipt = stored.receipt
    return {
        "account": stored.account,
        "run": stored.run,
        "request_id": receipt.request_id,
        "created": iso_time(receipt.created_ms),
        "model": receipt.model,
        "units": receipt.units,
        "cost_micro_usd": receipt.cost_micro_usd,
    }


def _unanswered(purchase: Intent | WriteOff) -> Record:
    return {
        "idempotency_key": purchase.idempotency_key,
        "run": purchase.run,
        "units": purchase.units,
        "created": iso_time(purchase.created_ms),
    }


def _totals(state: CacheState, receipts: Mapping[Any, StoredReceipt], rows: int) -> Record:
    total = SpendTotals()
    for stored in receipts.values():
        total.add(stored.receipt)
    return {"name": state.name, "rows": rows, **total.as_dict()}


def _by_model(receipts: Mapping[Any, StoredReceipt]) -> dict[tuple[str, str], SpendTotals]:
    totals: dict[tuple[str, str], SpendTotals] = {}
    for stored in receipts.values():
        name = stored.receipt.model, stored.receipt.model_fingerprint
        totals.setdefault(name, SpendTotals()).add(stored.receipt)
    return totals


def _spend_by_model(
    a: Mapping[tuple[str, str], SpendTotals], b: Mapping[tuple[str, str], SpendTotals]
) -> Iterator[Record]:
    for name in dict.fromkeys([*a, *b]):
        mine, others = (side.get(name, SpendTotals()) for side in (a, b))
        difference = others.cost_micro_usd - mine.cost_micro_usd
        yield {
            "model": name[0],
            "model_fingerprint": name[1],
            "units_in_a": mine.units,
            "units_in_b": others.units,
            "cost_micro_usd_in_a": mine.cost_micro_usd,
            "cost_micro_usd_in_b": others.cost_micro_usd,
            "difference_micro_usd": difference,
            "difference_usd": dollars(difference, plain=True),
        }
