"""FencedCache: each test is named after a failure of plain diskcache."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from cache.errors import CacheUnavailable, UnsafeSettings
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.storage.fenced_diskcache import SETTINGS, FencedCache
from cache.storage.folder import DATABASE
from tests.support.cache_purchases import (
    Ledger,
    buy,
    image,
    images,
    intent_of,
    tamper,
)


def test_eviction_deletes_paid_rows_in_a_plain_diskcache(tmp_path: Path) -> None:
    """The control: the load of the next test triggers eviction in plain diskcache."""
    with diskcache.Cache(str(tmp_path), size_limit=2**20, sqlite_synchronous=0) as plain:
        with plain.transact():
            for number in range(600):
                plain.set(image(number).digest, b"v" * 4000)
        assert len(plain) < 600


def test_eviction_deletes_no_paid_row_in_this_cache(folder: Path) -> None:
    """However many there are: the limits are off, and culling and expiring find nothing."""
    with FencedCache(folder, patience_s=2.0) as store:
        with store.exclusive():
            for number in range(600):
                store.set(image(number).digest, b"v" * 4000, tag="row")
        assert sum(image(number).digest in store for number in range(600)) == 600
        assert store.cull() == 0
        assert store.expire() == 0


def test_another_program_with_evicting_settings_cannot_delete_paid_rows(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """A plain diskcache on the same folder evicts; the database itself refuses."""
    buy(cache, ledger, *images(*range(20)))
    with diskcache.Cache(
        str(folder), size_limit=1, cull_limit=100, eviction_policy="least-recently-stored"
    ) as plain:
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            plain.set("x", b"y")
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            plain.clear()
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            plain.delete(image(1).digest)
    assert cache.missing(images(*range(20))) == []


def test_a_stored_row_or_receipt_cannot_be_changed_by_hand(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Only after its trigger is dropped, which does not happen by accident."""
    buy(cache, ledger, image(1))
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        for tag in ("row", "receipt", "paid"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                connection.execute("UPDATE Cache SET value = x'00' WHERE tag = ?", (tag,))


def test_the_settings_are_those_that_lose_nothing() -> None:
    """Each setting keeps rows from being deleted, unsynced or written to separate files."""
    assert SETTINGS == {
        "eviction_policy": "none",
        "cull_limit": 0,
        "size_limit": 2**62,
        "statistics": 0,
        "tag_index": 1,
        "disk_min_file_size": 2**62,
        "sqlite_auto_vacuum": 0,
        "sqlite_journal_mode": "wal",
        "sqlite_mmap_size": 0,
        "sqlite_synchronous": 2,
    }


def test_settings_that_persist_are_put_back_when_the_cache_is_opened(folder: Path) -> None:
    """diskcache keeps settings in the file and uses them from then on."""
    with diskcache.Cache(
        str(folder), size_limit=2**20, cull_limit=10, eviction_policy="least-recently-used"
    ) as plain:
        plain.reset("sqlite_synchronous", 1)
        plain.reset("statistics", 1)
    with PaidCache.open(folder) as cache:
        stored = dict(cache.query("SELECT key, value FROM Settings"))
        assert {name: stored[name] for name in SETTINGS} == SETTINGS
        assert verify(cache).is_sound


@pytest.mark.parametrize(
    ("name", "value"),
    [("eviction_policy", "least-recently-used"), ("size_limit", 2**30), ("cull_limit", 10)],
)
def test_settings_that_persist_and_were_changed_meanwhile_are_noticed(
    folder: Path, name: str, value: object
) -> None:
    """By the check that follows opening, and by verify."""
    with FencedCache(folder, patience_s=2.0) as store:
        store.check_settings()
        tamper(folder, "UPDATE Settings SET value = ? WHERE key = ?", value, name)
        with pytest.raises(UnsafeSettings, match=name):
            store.check_settings()
    with PaidCache.open(folder) as cache:
        tamper(folder, "UPDATE Settings SET value = ? WHERE key = ?", value, name)
        assert [problem.name for problem in verify(cache).problems] == [f"setting {name}"]


def test_a_connection_that_would_not_sync_is_not_written_to(folder: Path) -> None:
    """Each thread's connection reads the settings again: NORMAL loses the last rows in a power cut.

    Nothing is reserved, so nothing is bought.
    """
    with PaidCache.open(folder) as cache:
        tamper(folder, "UPDATE Settings SET value = 1 WHERE key = 'sqlite_synchronous'")
        caught: list[BaseException] = []

        def reserve() -> None:
            try:
                cache.reserve(intent_of(image(1)), budget=10)
            except UnsafeSettings as error:
                caught.append(error)

        thread = threading.Thread(target=reserve)
        thread.start()
        thread.join()
        assert len(caught) == 1
        assert cache.open_intents() == []


def test_every_commit_is_synced(folder: Path) -> None:
    """diskcache's default, NORMAL, is not."""
    with FencedCache(folder, patience_s=2.0) as store, store.exclusive():
        assert store._sql("PRAGMA synchronous").fetchone() == (2,)
        assert store._sql("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_plain_diskcache_is_not_taken_for_a_cache_of_paid_rows(tmp_path: Path) -> None:
    """Its rows may be pickles and its settings evict."""
    with diskcache.Cache(str(tmp_path)) as plain:
        plain.set("x", 1)
    with pytest.raises(CacheUnavailable, match="format 0"):
        PaidCache.open(tmp_path)


def test_a_cache_of_a_newer_format_is_left_alone(folder: Path) -> None:
    """An older program would write what a newer one cannot read."""
    tamper(folder, "PRAGMA user_version = 2")
    with pytest.raises(CacheUnavailable, match="format 2; this program reads and writes 1"):
        PaidCache.open(folder)


def test_a_page_holds_several_rows(cache: PaidCache) -> None:
    """Pages of 4 KiB hold one row of 512 numbers and waste the rest."""
    assert list(cache.query("PRAGMA page_size")) == [(16384,)]
