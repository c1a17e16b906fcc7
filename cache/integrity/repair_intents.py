"""Repair of purchases without a receipt: their queries must stay counted as spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from cache.errors import CorruptRow, PickleRefused
from cache.integrity.quarantine import Quarantine
from cache.integrity.scan import ScanResult
from cache.records.purchase_records import Intent, Spend, StoredReceipt, WriteOff
from cache.storage import record_codec
from cache.storage.database import StoredRecord

Value = TypeVar("Value", Intent, WriteOff)

_UNREADABLE: Final = (
    "its record was damaged: it may have been charged, and its answer cannot be asked for;"
    " run cache-report audit to see whether it was charged"
)


class IntentRepair:
    """Decides what the open purchases and write-offs of a damaged cache should be.

    Afterwards `intents` and `write_offs` hold all of them by idempotency key, `resealed_intents`
    and `new_write_offs` those to be written, and `settled` open purchases that have a receipt.
    """

    def __init__(
        self,
        scan_result: ScanResult,
        receipts: dict[tuple[str, str], StoredReceipt],
        quarantine: Quarantine,
    ) -> None:
        self.intents = {intent.idempotency_key: intent for intent in scan_result.intents}
        self.write_offs = {
            write_off.idempotency_key: write_off for write_off in scan_result.write_offs
        }
        self.resealed_intents: list[Intent] = []
        self.new_write_offs: list[WriteOff] = []
        self._totals_before = scan_result.totals
        self._paid = {stored.receipt.idempotency_key for stored in receipts.values()}
        self.settled = [intent for key, intent in self.intents.items() if key in self._paid]
        self._quarantine = quarantine
        self._damaged_intents: dict[str, Intent | None] = {}
        for intent in self.settled:
            del self.intents[intent.idempotency_key]

    def add_damaged_intent(self, idempotency_key: str, record: StoredRecord) -> None:
        """Take a corrupt record of an open purchase; `resolve` decides whether to trust it."""
        if idempotency_key in self._paid:
            return
        intent = _decode(record, record_codec.decode_damaged_intent)
        is_its_own = intent is not None and intent.idempotency_key == idempotency_key
        self._damaged_intents[idempotency_key] = intent if is_its_own else None

    def add_damaged_write_off(self, idempotency_key: str, record: StoredRecord) -> None:
        """Take a corrupt record of a write-off: it stays written off, at the totals' queries."""
        write_off = _decode(record, record_codec.decode_damaged_write_off)
        if write_off is None or write_off.idempotency_key != idempotency_key:
            before = self._totals_before or Spend()
            known = sum(
                other.units for key, other in self.write_offs.items() if key not in self._paid
            )
            units = max(0, before.written_off_units - known)
            write_off = self._write_off_unreadable(idempotency_key, units)
        self._add_write_off(write_off)

    def resolve(self, *, may_lack_intents: bool) -> None:
        """Trust the damaged purchases if the totals agree with them; else write them off.

        Open queries in the totals that no purchase explains are written off too, if
        `may_lack_intents`: whole records of open purchases may be gone.
        """
        damaged = {
            key: intent for key, intent in self._damaged_intents.items() if intent is not None
        }
        unexplained = self._unexplained_units()
        agrees = unexplained is None or unexplained == sum(
            intent.units for intent in damaged.values()
        )
        if agrees and len(damaged) == len(self._damaged_intents):
            self.resealed_intents = list(damaged.values())
            self.intents |= damaged
        else:
            units = unexplained or 0
            for key in self._damaged_intents:
                self._add_write_off(self._write_off_unreadable(key, units))
                # Only the sum is known, so the first write-off takes all of it.
                units = 0
        if may_lack_intents and not self._damaged_intents and unexplained:
            name = f"unknown-{self._quarantine.stamp}"
            self._add_write_off(self._write_off_unreadable(name, unexplained))

    def _unexplained_units(self) -> int | None:
        """Queries that the totals count as open beyond the sound records; None without totals."""
        if self._totals_before is None:
            return None
        sound = [*self.intents.values(), *self.settled]
        return max(0, self._totals_before.open_units - sum(intent.units for intent in sound))

    def _write_off_unreadable(self, idempotency_key: str, units: int) -> WriteOff:
        return WriteOff(
            idempotency_key=idempotency_key,
            account="",
            run="",
            units=units,
            keys=(),
            detail=_UNREADABLE,
            created_ms=self._quarantine.created_ms,
        )

    def _add_write_off(self, write_off: WriteOff) -> None:
        self.write_offs[write_off.idempotency_key] = write_off
        self.new_write_offs.append(write_off)


def _decode(record: StoredRecord, decode: Callable[[str, bytes], Value]) -> Value | None:
    try:
        return decode(record.name, record.content())
    except (CorruptRow, PickleRefused):
        return None
