"""Other pitfalls of diskcache, each with a control that shows the failure."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import diskcache
import pytest

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.storage.folder import DATABASE
from tests.cache.storage.test_locks import stuck_lock
from tests.support.cache_purchases import ACCOUNT, Ledger, buy, image, images, intent_of, rows_of


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_fanout_cache_drops_a_write_under_a_lock_without_an_error(tmp_path: Path) -> None:
    """The control: set returns False, and the paid answer is gone."""
    with diskcache.FanoutCache(str(tmp_path), shards=1, timeout=0.01) as plain:
        with closing(sqlite3.connect(tmp_path / "000" / DATABASE, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            assert plain.set("paid", b"answer") is False
        assert plain.get("paid") is None


def test_a_write_under_a_lock_is_never_dropped_in_this_cache(folder: Path, ledger: Ledger) -> None:
    """It raises, and nothing is stored."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    with PaidCache.open(folder, patience_s=0.1) as cache:
        with stuck_lock(folder), pytest.raises(CacheUnavailable):
            cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
        assert cache.get(image(1)) is None
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
        assert cache.get(image(1)) is not None


def test_tuple_keys_of_a_plain_diskcache_are_pickles_of_unstable_bytes(tmp_path: Path) -> None:
    """The control, diskcache #54: two equal keys, two rows; paid rows would be bought again."""
    with diskcache.Cache(str(tmp_path)) as plain:
        shared = "".join(["model", "-a"])
        plain.set((shared, shared), b"x")
        assert (shared, "".join(["model", "-a"])) == (shared, shared)
        assert plain.get((shared, "".join(["model", "-a"]))) is None


def test_equal_keys_find_the_same_row_in_this_cache(cache: PaidCache, ledger: Ledger) -> None:
    """A digest of canonical bytes does not depend on the identity of strings."""
    buy(cache, ledger, image(1))
    again = image(1, fingerprint="".join(["sha256:", "f" * 64]))
    assert cache.missing([again]) == []


def test_reads_do_not_write(cache: PaidCache, ledger: Ledger, folder: Path) -> None:
    """Statistics and LRU make every read of a plain diskcache a write that waits for a lock."""
    buy(cache, ledger, *images(1, 2))
    with stuck_lock(folder):
        assert cache.get(image(1)) is not None
        assert cache.missing(images(1, 2, 3)) == [image(3)]
        assert cache.spend_on_record().receipt_units == 2


def test_reads_of_a_plain_diskcache_with_statistics_write(tmp_path: Path) -> None:
    """The control: a get that cannot take the lock fails."""
    with diskcache.Cache(str(tmp_path), statistics=True, timeout=0.01) as plain:
        plain.set("x", b"x")
        with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            with pytest.raises(diskcache.Timeout):
                plain.get("x")


def test_ended_threads_leave_no_files_open(cache: PaidCache, ledger: Ledger) -> None:
    """Each thread has a connection: a pool that replaces threads would run out of files."""
    buy(cache, ledger, image(1))

    def look_in_a_thread() -> None:
        thread = threading.Thread(target=cache.get, args=[image(1)])
        thread.start()
        thread.join()

    look_in_a_thread()
    before = open_files()
    for _ in range(20):
        look_in_a_thread()
    assert open_files() <= before + 3
