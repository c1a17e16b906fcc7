"""Whether a cache is still what was written to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, PaidEmbedding
from cache.records.receipt import Receipt
from cache.storage import record_codec
from cache.storage.folder import DATABASE
from cache.storage.reader import CacheReader
from cache.storage.row_codec import encode_row, seal
from tests.support.cache_command import problems, store_receipt
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    count_free_pages,
    image,
    overwrite,
    tamper,
)


@pytest.mark.usefixtures("receipt")
def test_an_untouched_cache_is_sound(cache: PaidCache) -> None:
    """And the counts are of what was checked."""
    result = verify(cache)
    assert result.problems == ()
    assert result.is_sound
    assert (result.rows, result.receipts) == (5, 2)


def test_an_empty_cache_is_sound(cache: PaidCache) -> None:
    """It has no record that could be wrong."""
    assert verify(cache).is_sound


def test_a_corrupt_row_is_named_by_its_digest(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """And its request is short of it."""
    record = bytearray(encode_row(replace(_row(cache), request_id=receipt.request_id)))
    record[-30] ^= 4
    overwrite(folder, image(3).digest, bytes(record))
    assert problems(cache) == [
        (image(3).digest.hex(), "its checksum does not match its bytes"),
        (
            record_codec.receipt_name(ACCOUNT, receipt.request_id),
            "it charges 2 images and 0 texts, the cache has 1 and 0 of them",
        ),
    ]


def _row(cache: PaidCache) -> PaidEmbedding:
    row = cache.get(image(3))
    assert row is not None
    return row


@pytest.mark.usefixtures("receipt")
@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_flipped_bit_anywhere_is_found_and_its_record_named(
    cache: PaidCache, folder: Path, data: st.DataObject
) -> None:
    """In rows, receipts, marks, intents, refusals, runs and totals alike."""
    records = list(cache.scan_all())
    record = data.draw(st.sampled_from(records))
    content = bytearray(record.content())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    tamper(folder, "UPDATE Cache SET value = ? WHERE key = ?", bytes(content), record.key)
    assert record.name in [name for name, _ in problems(cache)]
    tamper(folder, "UPDATE Cache SET value = ? WHERE key = ?", record.content(), record.key)
    assert problems(cache) == []


@pytest.mark.usefixtures("receipt")
@given(data=st.data())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_one_deleted_record_is_found(cache: PaidCache, folder: Path, data: st.DataObject) -> None:
    """Every record that counts money; refusals and runs can be recorded again."""
    names = ("value", "key", "raw", "tag", "mode")
    record = data.draw(
        st.sampled_from([r for r in cache.scan_all() if r.tag not in ("refusal", "run")])
    )
    tamper(folder, "DELETE FROM Cache WHERE key = ?", record.key)
    assert problems(cache) != []
    marks = ", ".join("?" * len(names))
    tamper(
        folder,
        f"INSERT INTO Cache({', '.join(names)}) VALUES ({marks})",
        *(getattr(record, name) for name in names),
    )
    assert problems(cache) == []


def test_a_row_under_another_row_s_name_is_found(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Its checksum is valid, its name is wrong."""
    overwrite(folder, image(3).digest, encode_row(replace(_row(cache), key=image(9))))
    name, detail = problems(cache)[0]
    assert name == image(3).digest.hex()
    assert image(9).digest.hex() in detail
    assert receipt.request_id in problems(cache)[1][0]


def test_a_receipt_under_another_receipt_s_name_is_found(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """A copy of one receipt cannot replace another."""
    first = next(cache.receipts())
    store_receipt(folder, receipt, at=first)
    assert any("its content belongs under the name" in detail for _, detail in problems(cache))


@pytest.mark.parametrize(
    ("key", "tag", "content", "detail"),
    [
        ("note", "note", seal({}), "there is no record kind 'note'"),
        ("note", None, seal({}), "there is no record kind 'None'"),
        ("receipt/x", "receipt", seal({}), "its fields cannot be read"),
        ("receipt/x", "receipt", seal({"account": "a", "run": "r", "receipt": {}}), "its fields"),
        ("intent/x", "intent", seal({"keys": [{}]}), "its fields cannot be read"),
        ("refusal/x", "refusal", seal({"key": {}}), "its fields cannot be read"),
        ("run/x", "run", seal({"run": "x"}), "its fields cannot be read"),
        ("paid/x", "paid", seal({}), "its fields cannot be read"),
        ("again/x", "again", seal({}), "its fields cannot be read"),
        ("again/x", "again", seal({"digest": "xyz"}), "its fields cannot be read"),
        ("row", "row", seal({}), "its payload is not the vector"),
    ],
)
def test_an_unreadable_record_is_found(
    cache: PaidCache, folder: Path, key: str, tag: str | None, content: bytes, detail: str
) -> None:
    """Whatever it claims to be."""
    tamper(
        folder,
        "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, 1, ?, 1, ?)",
        key,
        tag,
        content,
    )
    found = problems(cache)
    assert found[0][0] == key
    assert detail in found[0][1]


def test_damage_below_the_records_is_found(cache: PaidCache, ledger: Ledger, folder: Path) -> None:
    """SQLite's own check is part of it: here a page of an index is wiped."""
    buy(cache, ledger, image(1))
    sql = "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_expire_time'"
    ((page,),) = cache.query(sql)
    ((page_bytes,),) = cache.query("PRAGMA page_size")
    cache.close()
    with (folder / DATABASE).open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(bytes(page_bytes))
    with CacheReader.open(folder) as records:
        names = [problem.name for problem in verify(records).problems]
    assert set(names) == {"database"}


def test_a_false_header_of_the_database_is_found(cache: PaidCache, folder: Path) -> None:
    """Every record is still intact."""
    cache.close()
    count_free_pages(folder, 5)
    with CacheReader.open(folder) as records:
        ((name, detail),) = [(p.name, p.detail) for p in verify(records).problems]
    assert name == "database"
    assert "reelist" in detail or "free" in detail.lower()
