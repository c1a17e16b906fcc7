"""Locks, transactions and damaged files: bounded waits, all or nothing, clear errors."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.storage.fenced_diskcache import FencedCache
from cache.storage.folder import DATABASE
from tests.support.cache_purchases import (
    Ledger,
    buy,
    count_free_pages,
    image,
    images,
    intent_of,
    rows_of,
)


@contextmanager
def stuck_lock(folder: Path) -> Iterator[None]:
    """Another process that holds the write lock and never releases it."""
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_an_unbounded_retry_does_not_hang_a_reservation(cache: PaidCache, folder: Path) -> None:
    """diskcache's retry=True retries for ever; this cache gives up before anything is spent."""
    with PaidCache.open(folder, patience_s=0.2) as impatient, stuck_lock(folder):
        began = time.monotonic()
        with pytest.raises(CacheUnavailable, match="locked"):
            impatient.reserve(intent_of(image(1)), budget=10)
        assert time.monotonic() - began < 5
    assert cache.open_intents() == []


def test_an_unbounded_retry_does_not_hang_a_commit_and_the_answer_is_not_lost(
    folder: Path, ledger: Ledger
) -> None:
    """The purchase stays open, and the same answer is stored when the lock is free again."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    rows = rows_of(intent, receipt)
    with PaidCache.open(folder, patience_s=0.2) as cache:
        cache.reserve(intent, budget=10)
        with stuck_lock(folder), pytest.raises(CacheUnavailable, match=r"locked.* was charged"):
            cache.commit(intent, rows, receipt, account="v#k")
        assert cache.open_intents() == [intent]
        cache.commit(intent, rows, receipt, account="v#k")
        assert cache.get(image(1)) == rows[0]


def test_an_unbounded_retry_does_not_hang_the_opening(folder: Path) -> None:
    """A plain diskcache waits a minute for each of the settings that it writes."""
    with stuck_lock(folder):
        began = time.monotonic()
        with pytest.raises(CacheUnavailable, match="locked"):
            PaidCache.open(folder, patience_s=0.2)
        assert time.monotonic() - began < 5


def test_a_waiting_writer_gets_its_turn(cache: PaidCache, folder: Path) -> None:
    """A lock that is released in time is not an error."""
    is_held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with stuck_lock(folder):
            is_held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(10)
    threading.Timer(0.1, release.set).start()
    cache.reserve(intent_of(image(1)), budget=10)
    thread.join()
    assert len(cache.open_intents()) == 1


def test_a_new_cache_opens_although_another_process_writes_to_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diskcache creates a new file without waiting for locks, and partly without a retry."""
    lay_out = FencedCache.create_tag_index
    attempts = []

    def lay_out_behind_a_writer(store: FencedCache) -> None:
        attempts.append(store)
        with stuck_lock(tmp_path) if len(attempts) == 1 else nullcontext():
            store._sql("CREATE INDEX IF NOT EXISTS Cache_tag_rowid ON Cache(tag, rowid)")
        lay_out(store)

    monkeypatch.setattr(FencedCache, "create_tag_index", lay_out_behind_a_writer)
    with PaidCache.open(tmp_path, patience_s=5.0) as cache:
        cache.reserve(intent_of(image(1)), budget=10)
    assert len(attempts) == 2


def test_a_transaction_blocks_other_writers_from_its_start(cache: PaidCache, folder: Path) -> None:
    """BEGIN IMMEDIATE: what reserve has read cannot change before it writes."""
    with (
        cache._store.exclusive(),
        closing(sqlite3.connect(folder / DATABASE, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_a_full_disk_is_reported_at_once_and_changes_nothing(
    cache: PaidCache, ledger: Ledger
) -> None:
    """SQLite's page limit causes the same error as a full disk."""
    buy(cache, ledger, image(1))
    spend = cache.spend_on_record()
    ((pages,),) = cache._store._sql("PRAGMA page_count").fetchall()
    cache._store._sql(f"PRAGMA max_page_count = {pages}").fetchall()
    keys: tuple[EmbeddingKey, ...] = images(*range(2, 600))
    with pytest.raises(CacheUnavailable, match="full"):
        cache.reserve(intent_of(*keys, name="big"), budget=1000)
    assert (cache.spend_on_record(), cache.open_intents()) == (spend, [])
    cache._store._sql("PRAGMA max_page_count = 1000000").fetchall()
    cache.reserve(intent_of(*keys, name="big"), budget=1000)


def test_an_error_inside_a_transaction_rolls_everything_back(folder: Path) -> None:
    """No part of the transaction is kept."""

    def write_and_fail(store: FencedCache, sql: str) -> None:
        with store.exclusive():
            store.set("x", b"x")
            store._sql(sql)

    with FencedCache(folder, patience_s=2.0) as store:
        with pytest.raises(TypeError):
            write_and_fail(store, None)  # type: ignore[arg-type]
        assert "x" not in store
        with pytest.raises(CacheUnavailable, match="no such table"):
            write_and_fail(store, "SELECT * FROM Nowhere")
        assert "x" not in store


def test_a_commit_that_fails_leaves_no_transaction_open(folder: Path) -> None:
    """A deferred foreign key makes COMMIT itself fail, as a full disk may."""
    with FencedCache(folder, patience_s=2.0) as store:
        for sql in (
            "CREATE TABLE Parent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE Child (id REFERENCES Parent DEFERRABLE INITIALLY DEFERRED)",
            "PRAGMA foreign_keys = ON",
        ):
            store._sql(sql)

        def orphan() -> None:
            with store.exclusive():
                store.set("x", b"x")
                store._sql("INSERT INTO Child VALUES (7)")

        with pytest.raises(CacheUnavailable, match="FOREIGN KEY"):
            orphan()
        assert "x" not in store
        with store.exclusive():
            store.set("y", b"y")
        assert "y" in store


def test_a_database_with_a_false_header_is_not_written(cache: PaidCache, folder: Path) -> None:
    """SQLite itself would continue; its quick check reports the fault."""
    cache.close()
    count_free_pages(folder, 5)
    with pytest.raises(CacheUnavailable, match="is damaged"):
        PaidCache.open(folder)


def test_a_database_with_a_damaged_schema_is_reported(cache: PaidCache, folder: Path) -> None:
    """Found while diskcache opens it."""
    cache.close()
    with (folder / DATABASE).open("r+b") as file:
        file.truncate(16384)
    with pytest.raises(CacheUnavailable, match="cannot open"):
        PaidCache.open(folder)


def test_a_malformed_database_is_not_written(cache: PaidCache, folder: Path) -> None:
    """The damage is found before a query is bought, and named."""
    cache.close()
    path = folder / DATABASE
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(16384)
        file.write(os.urandom(size - 16384))
    with pytest.raises(CacheUnavailable):
        PaidCache.open(folder)


def test_a_file_that_is_not_a_database_is_not_overwritten(tmp_path: Path) -> None:
    """It may be another program's file."""
    (tmp_path / DATABASE).write_bytes(b"dear diary" * 100)
    with pytest.raises(CacheUnavailable, match="not a database"):
        PaidCache.open(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"dear diary" * 100
