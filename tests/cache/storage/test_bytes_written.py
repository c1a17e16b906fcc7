"""What is written is byte for byte what the first version wrote, however it is made."""

from __future__ import annotations

import hashlib
import pickle
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cache.paid_cache import Intent, PaidCache
from cache.records.canonical_json import canonical_json, json_sha256
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import PaidEmbedding, Purchase
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE
from cache.storage.receipts_file import encode_line
from cache.storage.record_codec import encode_intent
from cache.storage.row_codec import encode_row, seal
from tests.cache.storage.test_plain_row import keys, rows, texts
from tests.support.cache_purchases import Ledger, buy, image, images, intent_of, text


@given(key=keys)
def test_the_digest_of_a_key_is_that_of_its_canonical_json(key: EmbeddingKey) -> None:
    """The JSON of a key is put together by hand, because nothing is made so often."""
    assert key.json().encode() == canonical_json(key.fields())
    tagged = b"emb/v1\0" + canonical_json(key.fields())
    assert key.digest == key.digest == hashlib.sha256(tagged).digest()


def test_the_digest_that_a_key_keeps_is_no_part_of_it() -> None:
    """Not of its fields, its copies, its pickles, nor of what makes two keys equal."""
    used, fresh = image(1), image(1)
    digest = used.digest
    assert (used, hash(used), asdict(used)) == (fresh, hash(fresh), asdict(fresh))
    assert pickle.dumps(used) == pickle.dumps(fresh)
    assert replace(used, view="other").digest == replace(fresh, view="other").digest != digest


@given(row=rows)
def test_a_row_is_encoded_as_the_canonical_json_of_its_fields(row: PaidEmbedding) -> None:
    """The fields that an answer's rows share are encoded once."""
    header = {
        "dtype": "<f4",
        "dim": int(row.vector.size),
        "key": row.key.fields(),
        "sent_sha256": row.sent_sha256,
        "model": row.model,
        "request_id": row.request_id,
        "price_version": row.price_version,
        "created_ms": row.created_ms,
    }
    assert encode_row(row) == seal(header, row.vector.tobytes())


@given(found=st.lists(keys, min_size=1, max_size=4, unique=True), run=texts)
def test_an_open_purchase_is_encoded_as_its_fields(found: list[EmbeddingKey], run: str) -> None:
    """In the order of the JSON, whatever the order in the code."""
    intent = Intent(idempotency_key="i", keys=tuple(found), units=3, run=run, created_ms=4)
    assert encode_intent(intent) == seal(asdict(intent))


@given(found=st.lists(keys, max_size=4), account=texts, run=texts)
def test_a_line_of_receipts_is_encoded_as_its_fields(
    found: list[EmbeddingKey], account: str, run: str
) -> None:
    """With the SHA-256 of the others among them."""
    receipt = Ledger().charge(intent_of(image(1)))
    purchase = Purchase(account=account, run=run, receipt=receipt, keys=tuple(found))
    body = {
        "version": 1,
        "account": account,
        "run": run,
        "receipt": receipt.entry(),
        "keys": [key.fields() for key in found],
    }
    line = canonical_json({**body, "sha256": json_sha256(body)}) + b"\n"
    assert encode_line(purchase) == line


def test_records_inserted_together_have_the_columns_that_diskcache_writes(folder: Path) -> None:
    """All but the times; and its counters count them."""
    with FencedCache(folder, patience_s=2.0) as store:
        before = len(store)
        with store.exclusive():
            store.set("one", b"value", tag="row")
            store.set(b"two", b"value", tag="row")
            store.insert([("three", b"value", "row"), (b"four", b"value", "row")])
        assert [store.get(name) for name in ("three", b"four")] == [b"value"] * 2
        assert len(store) == before + 4
        assert store.check() == []
    one, two, three, four = _columns(folder)
    assert {**one, "key": "three"} == three
    assert {**two, "key": b"four"} == four


def _columns(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.row_factory = sqlite3.Row
        sql = "SELECT * FROM Cache WHERE value = ? ORDER BY rowid"
        found = [dict(row) for row in connection.execute(sql, [b"value"])]
    for columns in found:
        assert columns.pop("store_time") == columns.pop("access_time") > 0
        del columns["rowid"]
    return found


def test_diskcache_counts_what_purchases_store(cache: PaidCache, ledger: Ledger) -> None:
    """By the triggers that it keeps its counters with."""
    buy(cache, ledger, *images(1, 2, 3), text("a"))
    counters = dict(cache.query("SELECT key, value FROM Settings WHERE key IN ('count', 'size')"))
    assert counters == {"count": len(list(cache.scan_all())), "size": 0}


def test_rows_are_stored_in_the_order_of_sending_also_beside_rows_of_others(
    cache: PaidCache, ledger: Ledger
) -> None:
    """So that the digest of an answer can be made in one pass over the file."""
    buy(cache, ledger, image(2))
    intent = intent_of(*images(1, 2, 3), name="again")
    receipt = buy(cache, ledger, *intent.keys, name="again")
    stored = [record.name for record in cache.scan_all() if record.tag in ("row", "again")]
    again = f"again/{image(2).digest.hex()}/{receipt.request_id}"
    assert stored == [image(2).digest.hex(), image(1).digest.hex(), again, image(3).digest.hex()]
