"""Receipts in receipts.jsonl that the database lacks: it was emptied, restored or damaged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from cache.errors import CorruptRow, PickleRefused
from cache.records.purchase_records import Purchase
from cache.storage import record_codec
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import decode_line, read_lines
from cache.storage.record_codec import Tag

_NAMES_PER_QUERY: Final = 500
# They stand in no JSON string, where a quotation mark has a backslash before it.
_KEYS: Final = b',"keys":['
_RECEIPT: Final = b'],"receipt":'


def find_unstored_receipts(cache: CacheReader) -> list[Purchase]:
    """Return the purchases that only receipts.jsonl has. Decodes only lines that may be such.

    Without the write lock the result may hold purchases of a merge that is being committed.
    """
    unknown: dict[str, Purchase] = {}
    lines = read_lines(cache.folder)
    # Lines before the database: what is committed between the two reads is then in both.
    while chunk := [(_receipt_name(line), line) for line in islice(lines, _NAMES_PER_QUERY)]:
        lacking = set(_not_stored(cache, [name for name, _ in chunk if name is not None]))
        for name, line in chunk:
            if name is not None and name in lacking:
                # A damaged line proves nothing; verify reports it.
                with suppress(ValueError):
                    unknown[name] = decode_line(line)
    return list(unstored(cache, unknown.values()))


def unstored(cache: CacheReader, purchases: Iterable[Purchase]) -> Iterator[Purchase]:
    """Yield those of `purchases` that have no receipt in the database and are not settled there.

    A charge counts as stored at whatever address of its vendor it was made. An open purchase is
    settled by the client, and a written-off one never had a receipt: neither is yielded.
    """
    by_name = {record_codec.receipt_name(*purchase.name): purchase for purchase in purchases}
    candidates = [by_name[name] for name in _not_stored(cache, list(by_name))]
    candidates = [purchase for purchase in candidates if not _is_accounted_for(cache, purchase)]
    if candidates:
        charges = set(_charges(cache))
        yield from (purchase for purchase in candidates if purchase.charge not in charges)


def _receipt_name(line: bytes) -> str | None:
    """The name of a line's receipt, without decoding the keys of a line as it is written."""
    before, keys, after = line.partition(_KEYS)
    _, receipt, rest = after.partition(_RECEIPT)
    try:
        if keys and receipt:
            body = json.loads(before + b"," + receipt[2:] + rest)
        else:
            body = json.loads(line)
        return record_codec.receipt_name(body["account"], body["receipt"]["request_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _not_stored(cache: CacheReader, names: list[str]) -> Iterator[str]:
    for start in range(0, len(names), _NAMES_PER_QUERY):
        chunk = names[start : start + _NAMES_PER_QUERY]
        stored = {record.name for record in cache.named(*chunk)}
        yield from (name for name in chunk if name not in stored)


def _is_accounted_for(cache: CacheReader, purchase: Purchase) -> bool:
    key = purchase.receipt.idempotency_key
    receipt, intent = record_codec.receipt_name(*purchase.name), record_codec.intent_name(key)
    write_off, paid = record_codec.write_off_name(key), record_codec.paid_name(key)
    # One statement, so that a commit is seen as a whole or not at all.
    present = {record.name for record in cache.named(receipt, intent, write_off, paid)}
    is_written_off = write_off in present and paid not in present
    return receipt in present or intent in present or is_written_off


def _charges(cache: CacheReader) -> Iterator[tuple[str, str]]:
    for record in cache.scan(Tag.RECEIPT):
        try:
            yield record_codec.decode_receipt(record.name, record.content()).charge
        except (CorruptRow, PickleRefused):
            continue
