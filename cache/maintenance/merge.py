"""Merge of two caches: no receipt is lost and none is counted twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from cache.errors import CacheUnavailable
from cache.maintenance.whole_cache import require_whole
from cache.paid_cache import PaidCache
from cache.records.canonical_json import canonical_json
from cache.records.purchase_records import Intent, Refusal, RunRecord
from cache.storage.consistency import require_same_purchase
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import DamagedLine, read_copies, read_purchases
from cache.storage.run_locks import exclude_runs
from cache.storage.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Counts of what was added; `units` (queries) and `cost_micro_usd` are those of `receipts`.

    `intents` counts open purchases, `intents_ended` purchases that were open in one cache and
    settled in the other, `copies` lines of receipts.jsonl.
    """

    receipts: int = 0
    units: int = 0
    cost_micro_usd: int = 0
    rows: int = 0
    intents: int = 0
    intents_ended: int = 0
    refusals: int = 0
    runs: int = 0
    write_offs: int = 0
    copies: int = 0

    def __add__(self, other: Merged) -> Merged:
        """Return the counts of both merges together."""
        return Merged(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )


def merge(source: CacheReader, into: PaidCache) -> Merged:
    """Add everything in `source` to `into`, in one transaction; `source` is only read.

    Merging again adds nothing, and the order of several merges does not change what is paid.
    Raises, with nothing changed: ReceiptConflict if one request has two different receipts,
    IntentConflict if one idempotency key has two different open purchases, CorruptRow if a cache
    needs repair, CacheUnavailable if a run is using either cache.
    """
    if source.folder.resolve() == into.folder.resolve():
        message = f"{source.folder} cannot be merged into itself"
        raise CacheUnavailable(message)
    require_whole(source)
    theirs, own = source.configurations(), into.configurations()
    for fingerprint in theirs.keys() & own.keys():
        if theirs[fingerprint] != own[fingerprint]:
            message = (
                f"{source.folder} and {into.folder} hold embeddings of two models under the "
                f"fingerprint {fingerprint[:19]}, which differ in their configuration: keep the "
                "caches apart"
            )
            raise CacheUnavailable(message)
    with exclude_runs(into.folder), source.snapshot(), into.transaction() as changes:
        return _Merge(source, into, changes).run()


class _Merge:
    """One merge inside one transaction."""

    def __init__(self, source: CacheReader, into: PaidCache, changes: Transaction) -> None:
        self._source = source
        self._into = into
        self._changes = changes
        self._units = 0
        self._cost_micro_usd = 0

    def run(self) -> Merged:
        # Receipts and write-offs first: they settle purchases that are open on the other side.
        receipts = self._add_receipts()
        write_offs = sum(map(self._changes.add_write_off, self._source.write_offs()))
        intents = self._add_intents()
        closed = self._close_settled()
        rows = self._changes.add_rows(row for row, _ in self._source.rows_as_stored())
        return Merged(
            receipts=receipts,
            units=self._units,
            cost_micro_usd=self._cost_micro_usd,
            rows=rows,
            intents=intents,
            intents_ended=closed,
            refusals=self._add_refusals(),
            runs=self._add_runs(),
            write_offs=write_offs,
            copies=self._add_copies(),
        )

    def _add_receipts(self) -> int:
        added = 0
        for stored in self._source.stored_receipts():
            if self._changes.same_charge(stored) is None:
                self._changes.add_receipt(stored)
                added += 1
                self._units += stored.receipt.units
                self._cost_micro_usd += stored.receipt.cost_micro_usd
        return added

    def _add_intents(self) -> int:
        added = 0
        for intent in self._source.open_intents():
            known = self._changes.intent(intent.idempotency_key)
            if known is not None:
                require_same_purchase(known, intent)
            elif not self._is_settled(intent):
                self._changes.open(intent)
                added += 1
        return added

    def _close_settled(self) -> int:
        """Close purchases that were open here and are settled there."""
        settled = [intent for intent in self._into.open_intents() if self._is_settled(intent)]
        for intent in settled:
            self._changes.close(intent.idempotency_key)
        return len(settled)

    def _is_settled(self, intent: Intent) -> bool:
        key = intent.idempotency_key
        return self._changes.paid_by(key) is not None or self._changes.write_off(key) is not None

    def _add_refusals(self) -> int:
        """Add new refusals; of two reasons for one item the earlier stays."""
        known = {refusal.key: refusal for refusal in self._into.refusals()}
        added = 0
        for refusal in self._source.refusals():
            here = known.get(refusal.key)
            if here is None or _age(refusal) < _age(here):
                self._changes.put_refusal(refusal)
                added += 1
        return added

    def _add_runs(self) -> int:
        """Add new runs; of two records of one run the record with more progress stays."""
        known = {run.run: run for run in self._into.runs()}
        added = 0
        for run in self._source.runs():
            here = known.get(run.run)
            if here is None or _progress(run) > _progress(here):
                self._changes.put_run(run)
                added += 1
        return added

    def _add_copies(self) -> int:
        copies = read_copies(self._source.folder)
        if copies.damaged:
            number = copies.damaged[0].number
            message = (
                f"{self._source.folder / RECEIPTS} is damaged in line {number}:"
                " run cache-report verify --repair on it"
            )
            raise CacheUnavailable(message)
        own = read_purchases(self._into.folder)
        known = {line.name for line in own if not isinstance(line, DamagedLine)}
        added = 0
        for purchase in copies.purchases.values():
            stored = self._changes.same_charge(purchase)
            # A line without a receipt in the database belongs to a commit that did not happen.
            if stored is not None and stored.name not in known:
                self._changes.add_to_receipts_file(replace(purchase, account=stored.account))
                added += 1
        return added


def _age(refusal: Refusal) -> tuple[int, str, str]:
    return refusal.created_ms, refusal.code, refusal.detail


def _progress(run: RunRecord) -> tuple[int, int, bytes]:
    return run.bought_units, run.planned, canonical_json(asdict(run))
