"""The state of receipts.jsonl as a purchase finds it: what is wrong, and how to mend it."""

from __future__ import annotations

import shlex

from cache.paid_cache import PaidCache
from cache.storage import record_codec
from cache.storage.folder import RECEIPTS
from cache.storage.receipts_file import DamagedLine, incomplete_tail, read_purchases
from cache.storage.record_codec import Tag


def second_copy_faults(cache: PaidCache) -> list[str]:
    """Say, one sentence a fault, what is wrong with receipts.jsonl; empty if nothing is.

    Found are lines that are not what was written, an incomplete last line, and receipts of the
    database without a line. None of them stops a purchase: the database has the receipts.
    """
    path = cache.folder / RECEIPTS
    mend = f"`cache-report --cache {shlex.quote(str(cache.folder))} verify --repair` mends it"
    # The database first: a receipt that is committed by then has its line already.
    stored = {record.name for record in cache.scan(Tag.RECEIPT)}
    known: set[str] = set()
    damaged: list[DamagedLine] = []
    # Line by line: only the names are kept, and not the keys, which are nearly all of the file.
    for found in read_purchases(cache.folder):
        if isinstance(found, DamagedLine):
            damaged.append(found)
        else:
            known.add(record_codec.receipt_name(*found.name))
    faults = []
    if damaged:
        first, others = damaged[0], len(damaged) - 1
        more = f", and {others} more lines" if others else ""
        faults.append(
            f"{path} is damaged: line {first.number} is not what was written ({first.reason})"
            f"{more}. The receipts in the database count; {mend}"
        )
    lacking = len(stored - known)
    if lacking:
        faults.append(
            f"{path} lacks {lacking} of {len(stored)} receipts: it was shortened or damaged, or is"
            f" newer than they are. The receipts in the database count; {mend}"
        )
    if incomplete_tail(cache.folder) and (size := _tail_at_rest(cache)):
        faults.append(
            f"{path} ends in an incomplete line of {size} bytes: a run was stopped while it wrote"
            " it. The next receipt that is stored replaces it"
            + (f"; {mend} now" if lacking else ", and nothing is lost")
        )
    return faults


def _tail_at_rest(cache: PaidCache) -> int:
    """The bytes of the incomplete last line while nobody writes: a run may be appending now."""
    with cache.transaction():
        return incomplete_tail(cache.folder)
