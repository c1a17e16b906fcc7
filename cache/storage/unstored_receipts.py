"""Receipts that receipts.jsonl has and the database lost: emptied, an older one, or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from cache.errors import CorruptRow, PickleRefused
from cache.records.purchase_records import Purchase
from cache.storage import record_types as journal
from cache.storage.receipts_file import read_line, read_lines
from cache.storage.record_types import Tag

if TYPE_CHECKING:
    from cache.storage.reader import CacheReader

_LINES_A_QUERY: Final = 500


def lost_receipts(cache: CacheReader) -> list[Purchase]:
    """The purchases of which only receipts.jsonl knows; lines are skimmed while there are none.

    A commit that is just being made is none of them, a merge may be: only the lock tells.
    """
    lines = {}
    # The file before the database: what a commit has written in between is then in both.
    for line in read_lines(cache.folder):
        name = _skim(line)
        if name is not None:
            lines[name] = line
    unknown = []
    for name in _not_stored(cache, list(lines)):
        try:
            unknown.append(read_line(lines[name]))
        except ValueError:
            # A damaged line proves nothing; verify names it.
            continue
    return list(stray(cache, unknown))


def stray(cache: CacheReader, purchases: Iterable[Purchase]) -> Iterator[Purchase]:
    """Those that have neither a receipt in the database, under whatever address, nor an end.

    An open intent waits for its receipt, and a purchase on record as lost never had one.
    """
    by_name = {journal.receipt_name(*one.name): one for one in purchases}
    left = [by_name[name] for name in _not_stored(cache, list(by_name))]
    left = [one for one in left if not _is_accounted_for(cache, one)]
    if left:
        charges = set(_charges(cache))
        yield from (one for one in left if one.charge not in charges)


def _skim(line: bytes) -> str | None:
    """The name of a line's receipt at a tenth of the price of reading all of its keys."""
    try:
        body = json.loads(line)
        return journal.receipt_name(body["account"], body["receipt"]["request_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _not_stored(cache: CacheReader, names: list[str]) -> Iterator[str]:
    for start in range(0, len(names), _LINES_A_QUERY):
        chunk = names[start : start + _LINES_A_QUERY]
        stored = {record.name for record in cache.named(*chunk)}
        yield from (name for name in chunk if name not in stored)


def _is_accounted_for(cache: CacheReader, purchase: Purchase) -> bool:
    key = purchase.receipt.idempotency_key
    receipt, intent = journal.receipt_name(*purchase.name), journal.intent_name(key)
    loss, paid = journal.loss_name(key), journal.paid_name(key)
    # One statement, so that a commit is seen as a whole or not at all.
    there = {record.name for record in cache.named(receipt, intent, loss, paid)}
    return receipt in there or intent in there or (loss in there and paid not in there)


def _charges(cache: CacheReader) -> Iterator[tuple[str, str]]:
    for record in cache.scan(Tag.RECEIPT):
        try:
            yield journal.read_receipt(record.name, record.content()).charge
        except (CorruptRow, PickleRefused):
            continue
