"""The vendor's ledger as far as its receipts show it."""

from __future__ import annotations

from cache.records.receipt import GENESIS_HASH, Receipt


class ReceiptChain:
    """The receipts of one account, in whatever order they come: never two ledgers.

    A receipt names its line's number and the hash of the line before it, so two neighbours prove
    each other, and a line that was told differently before is a rewritten ledger.
    """

    def __init__(self) -> None:
        self._lines: dict[int, Receipt] = {}

    def fault(self, receipt: Receipt) -> str | None:
        """What is wrong with `receipt` as a line of this ledger, else None; then it is kept."""
        seq, lines = receipt.seq, self._lines
        if seq in lines and lines[seq].hash != receipt.hash:
            return f"line {seq} of the ledger was another one before"
        before = GENESIS_HASH if seq == 1 else lines[seq - 1].hash if seq - 1 in lines else None
        if before is not None and receipt.prev_hash != before:
            return f"line {seq} of the ledger does not follow the line before it"
        if seq + 1 in lines and lines[seq + 1].prev_hash != receipt.hash:
            return f"line {seq + 1} of the ledger does not follow line {seq}"
        lines[seq] = receipt
        return None
