"""Joining two caches, so that no receipt is lost and none counts twice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.records.embedding_key import canonical_json
from cache.records.purchase_records import Intent, Refusal, RunRecord
from cache.storage.consistency import require_same_purchase
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import read_copies
from cache.storage.run_locks import live_runs, nobody_alive
from cache.storage.transaction import Transaction
from cache.storage.unstored_receipts import lost_receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was added: counts of records; `units` and `cost_micro_usd` are those of `receipts`.

    `intents_ended` were open in one cache while the other knew how the purchase ended.
    """

    receipts: int
    units: int
    cost_micro_usd: int
    rows: int
    intents: int
    intents_ended: int
    refusals: int
    runs: int
    losses: int
    copies: int


def merge(source: CacheReader, into: PaidCache) -> Merged:
    """Add everything of `source` to `into`, in one transaction; `source` is only read.

    Merging again adds nothing, and the order of several merges makes no difference to what is
    paid. Raises ReceiptConflict when one request has two different receipts, IntentConflict when
    one open purchase is two, CorruptRow when something must be repaired first and CacheUnavailable
    when a run is alive on either, all with nothing changed.
    """
    if source.folder.resolve() == into.folder.resolve():
        message = f"{source.folder} cannot be merged into itself"
        raise CacheUnavailable(message)
    if runs := live_runs(source.folder):
        message = f"the cache at {source.folder} is in use by {', '.join(runs)}: stop it first"
        raise CacheUnavailable(message)
    if lost := lost_receipts(source):
        message = (
            f"{source.folder} has {len(lost)} receipts that its database does not have: repair it"
        )
        raise CacheUnavailable(message)
    with nobody_alive(into.folder), source.snapshot(), into.transaction() as changes:
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
        # Receipts first: they tell which purchases have ended, on whichever side.
        receipts = self._add_receipts()
        losses = sum(self._changes.add_loss(loss) for loss in self._source.losses())
        intents = self._add_intents()
        ended = self._end_intents()
        rows = sum(self._changes.add_row(row) for row in self._source.rows())
        rows += sum(self._changes.add_row(row) for row in self._source.rows_bought_again())
        return Merged(
            receipts=receipts,
            units=self._units,
            cost_micro_usd=self._cost_micro_usd,
            rows=rows,
            intents=intents,
            intents_ended=ended,
            refusals=self._add_refusals(),
            runs=self._add_runs(),
            losses=losses,
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
            elif not self._has_ended(intent):
                self._changes.open(intent)
                added += 1
        return added

    def _end_intents(self) -> int:
        """Take out what was open here and has ended there."""
        ended = [intent for intent in self._into.open_intents() if self._has_ended(intent)]
        for intent in ended:
            self._changes.end(intent.idempotency_key)
        return len(ended)

    def _has_ended(self, intent: Intent) -> bool:
        key = intent.idempotency_key
        return self._changes.paid_by(key) is not None or self._changes.loss(key) is not None

    def _add_refusals(self) -> int:
        """Add what is new; of two reasons the first given stays."""
        known = {refusal.key: refusal for refusal in self._into.refusals()}
        added = 0
        for refusal in self._source.refusals():
            here = known.get(refusal.key)
            if here is None or _first_given(refusal) < _first_given(here):
                self._changes.put_refusal(refusal)
                added += 1
        return added

    def _add_runs(self) -> int:
        """Add what is new; of two records of one run the one that got further stays."""
        known = {run.run: run for run in self._into.runs()}
        added = 0
        for run in self._source.runs():
            here = known.get(run.run)
            if here is None or _got_to(run) > _got_to(here):
                self._changes.put_run(run)
                added += 1
        return added

    def _add_copies(self) -> int:
        copies = read_copies(self._source.folder)
        if copies.damaged:
            number = copies.damaged[0].number
            message = f"{self._source.folder / RECEIPTS} is damaged in line {number}: repair it"
            raise CacheUnavailable(message)
        known = read_copies(self._into.folder).purchases
        added = 0
        for purchase in copies.purchases.values():
            stored = self._changes.same_charge(purchase)
            # A line without its receipt is of a commit that never happened.
            if stored is not None and stored.name not in known:
                self._changes.copy(replace(purchase, account=stored.account))
                added += 1
        return added


def _first_given(refusal: Refusal) -> tuple[int, str, str]:
    return refusal.created_ms, refusal.code, refusal.detail


def _got_to(run: RunRecord) -> tuple[int, int, bytes]:
    return run.bought_units, run.planned, canonical_json(asdict(run))
