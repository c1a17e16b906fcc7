"""Checks that the receipts of one account belong to one ledger."""

from __future__ import annotations

from cache.records.receipt import GENESIS_HASH, Receipt


class ReceiptChain:
    """The receipts of one account, in any order; they must all fit a single hash-chained ledger.

    A receipt has its entry's number and the hash of the entry before it, so neighbouring entries
    prove each other. An entry that was seen with another hash before means a rewritten ledger.
    """

    def __init__(self) -> None:
        self._entries: dict[int, Receipt] = {}

    def fault(self, receipt: Receipt) -> str | None:
        """Why `receipt` does not fit this ledger; None if it fits, and then it is remembered."""
        seq, entries = receipt.seq, self._entries
        if seq in entries and entries[seq].hash != receipt.hash:
            return f"entry {seq} of the ledger had another hash before"
        before = GENESIS_HASH if seq == 1 else entries[seq - 1].hash if seq - 1 in entries else None
        if before is not None and receipt.prev_hash != before:
            return f"entry {seq} of the ledger does not follow the entry before it"
        if seq + 1 in entries and entries[seq + 1].prev_hash != receipt.hash:
            return f"entry {seq + 1} of the ledger does not follow entry {seq}"
        entries[seq] = receipt
        return None
