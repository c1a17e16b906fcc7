"""The purchases of a damaged cache that have no receipt: their units must stay counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from cache.errors import CorruptRow, PickleRefused
from cache.integrity.quarantine import Quarantine
from cache.integrity.scan import ScanResult
from cache.records.purchase_records import Intent, Spend, StoredReceipt, WriteOff
from cache.storage import record_types as journal
from cache.storage.reader import StoredRecord

Value = TypeVar("Value", Intent, WriteOff)

_UNREADABLE: Final = (
    "its record was damaged, so it may have been charged and its answer cannot be asked for:"
    " cache-report audit tells"
)


class IntentRepair:
    """Intents and losses as they should be after a repair, whatever state they were in."""

    def __init__(
        self,
        findings: ScanResult,
        receipts: dict[tuple[str, str], StoredReceipt],
        aside: Quarantine,
    ) -> None:
        self.intents = {intent.idempotency_key: intent for intent in findings.intents}
        self.losses = {loss.idempotency_key: loss for loss in findings.losses}
        self.resealed_intents: list[Intent] = []
        self.new_losses: list[WriteOff] = []
        self._before = findings.totals
        self._ended = {stored.receipt.idempotency_key for stored in receipts.values()}
        self.settled = [intent for key, intent in self.intents.items() if key in self._ended]
        self._aside = aside
        self._damaged_intents: dict[str, Intent | None] = {}
        for intent in self.settled:
            del self.intents[intent.idempotency_key]

    def take_intent(self, idempotency_key: str, record: StoredRecord) -> None:
        """A corrupt record of an intent: what it still says is believed if the totals agree."""
        if idempotency_key in self._ended:
            return
        intent = _read(record, journal.read_damaged_intent)
        is_its_own = intent is not None and intent.idempotency_key == idempotency_key
        self._damaged_intents[idempotency_key] = intent if is_its_own else None

    def take_loss(self, idempotency_key: str, record: StoredRecord) -> None:
        """A corrupt record of a loss: a loss it stays, of the units that the totals count."""
        loss = _read(record, journal.read_damaged_loss)
        if loss is None or loss.idempotency_key != idempotency_key:
            before = self._before or Spend()
            known = sum(one.units for key, one in self.losses.items() if key not in self._ended)
            loss = self._unknown(idempotency_key, max(0, before.lost_units - known))
        self._add_loss(loss)

    def settle(self, *, may_lack_intents: bool) -> None:
        """Decide on the damaged intents, and on units in flight that no intent explains."""
        damaged = {key: one for key, one in self._damaged_intents.items() if one is not None}
        left = self._unexplained()
        is_believed = left is None or left == sum(one.units for one in damaged.values())
        if is_believed and len(damaged) == len(self._damaged_intents):
            self.resealed_intents = list(damaged.values())
            self.intents |= damaged
        else:
            units = left or 0
            for key in self._damaged_intents:
                self._add_loss(self._unknown(key, units))
                # Together they had so many, and nobody knows which had how many.
                units = 0
        if may_lack_intents and not self._damaged_intents and left:
            self._add_loss(self._unknown(f"unknown-{self._aside.stamp}", left))

    def _unexplained(self) -> int | None:
        """Units that the totals count as in flight and no sound intent does; None: no totals."""
        if self._before is None:
            return None
        sound = [*self.intents.values(), *self.settled]
        return max(0, self._before.in_flight_units - sum(intent.units for intent in sound))

    def _unknown(self, idempotency_key: str, units: int) -> WriteOff:
        return WriteOff(
            idempotency_key=idempotency_key,
            account="",
            run="",
            units=units,
            keys=(),
            detail=_UNREADABLE,
            created_ms=self._aside.created_ms,
        )

    def _add_loss(self, loss: WriteOff) -> None:
        self.losses[loss.idempotency_key] = loss
        self.new_losses.append(loss)


def _read(record: StoredRecord, read: Callable[[str, bytes], Value]) -> Value | None:
    try:
        return read(record.name, record.content())
    except (CorruptRow, PickleRefused):
        return None
