"""diskcache, fenced. Each test is named after what goes wrong without the fence."""

from __future__ import annotations

import io
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import diskcache
import pytest

from cache.disk import SETTINGS, BytesOnlyDisk, FencedCache
from cache.errors import CacheUnavailable, PickleRefused, UnsafeSettings
from cache.identity import EmbeddingKey
from cache.paid import PaidCache
from cache.place import DATABASE
from cache.verify import verify
from tests.cache.purchases import (
    Ledger,
    buy,
    count_free_pages,
    image,
    images,
    intent_of,
    rows_of,
    tamper,
)


class Bomb:
    """What an attacker pickles: reading it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.trace),))


@contextmanager
def stuck_lock(folder: Path) -> Iterator[None]:
    """Another process that holds the write lock and never lets go."""
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def test_eviction_deletes_paid_rows_in_a_plain_diskcache(tmp_path: Path) -> None:
    """The control: this is what the fence is for, and the next test's load triggers it."""
    with diskcache.Cache(str(tmp_path), size_limit=2**20, sqlite_synchronous=0) as plain:
        with plain.transact():
            for number in range(600):
                plain.set(image(number).digest, b"v" * 4000)
        assert len(plain) < 600


def test_eviction_deletes_no_paid_row_here(folder: Path) -> None:
    """However many there are: the limits are off, also for a caller who sets an expired one."""
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
    """Whoever does must first take the trigger away, which is no accident."""
    buy(cache, ledger, image(1))
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        for tag in ("row", "receipt", "paid"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                connection.execute("UPDATE Cache SET value = x'00' WHERE tag = ?", (tag,))


def test_settings_that_persist_are_put_back_when_the_cache_is_opened(folder: Path) -> None:
    """diskcache keeps settings in the file and obeys them for ever after."""
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


def test_a_new_connection_that_would_not_sync_is_not_written_through(folder: Path) -> None:
    """Each thread's connection reads the settings anew: NORMAL loses the last rows in a power cut.

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


def test_a_planted_pickle_is_never_run(cache: PaidCache, ledger: Ledger, folder: Path) -> None:
    """CVE-2025-69872: a plain diskcache unpickles whatever lies in its file."""
    buy(cache, ledger, image(1))
    trace = folder.parent / "ran"
    bomb = pickle.dumps(Bomb(trace))
    tamper(
        folder,
        "UPDATE Cache SET mode = 4, value = ? WHERE key = ?",
        bomb,
        image(1).digest,
    )
    with pytest.raises(PickleRefused, match="mode 4"):
        cache.get(image(1))
    with pytest.raises(PickleRefused):
        list(cache.rows())
    problems = [problem.name for problem in verify(cache).problems]
    assert image(1).digest.hex() in problems
    assert not trace.exists()


def test_a_planted_pickle_under_a_pickled_key_is_never_run(folder: Path) -> None:
    """Keys are unpickled by a plain diskcache, too."""
    trace = folder.parent / "ran"
    with PaidCache.open(folder) as cache:
        tamper(
            folder,
            "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, 0, 'row', 1, x'00')",
            pickle.dumps(Bomb(trace)),
        )
        with pytest.raises(PickleRefused, match="pickled"):
            list(cache.rows())
        assert not verify(cache).is_sound
    with FencedCache(folder, patience_s=2.0) as store, pytest.raises(PickleRefused):
        list(store)
    assert not trace.exists()


def test_a_planted_pickle_is_run_by_a_plain_diskcache(tmp_path: Path) -> None:
    """The control: the pickle of these tests is a live one."""
    trace = tmp_path / "ran"
    with diskcache.Cache(str(tmp_path / "plain")) as plain:
        plain.set("x", b"")
        tamper(
            tmp_path / "plain",
            "UPDATE Cache SET mode = 4, value = ? WHERE key = 'x'",
            pickle.dumps(Bomb(trace)),
        )
        plain.get("x")
    assert trace.exists()


@pytest.mark.parametrize("value", ["text", 1, 1.5, None, (1,), ["a"], bytearray(b"x")])
def test_no_value_is_pickled_on_its_way_in(folder: Path, value: object) -> None:
    """Only bytes are stored."""
    with FencedCache(folder, patience_s=2.0) as store, pytest.raises(PickleRefused):
        store.set("x", value)


@pytest.mark.parametrize("key", [1, 1.5, None, ("a", 1), bytearray(b"x")])
def test_no_key_is_pickled_on_its_way_in(folder: Path, key: object) -> None:
    """Tuples pickle to other bytes in other processes, and are then bought again."""
    with FencedCache(folder, patience_s=2.0) as store:
        with pytest.raises(PickleRefused):
            store.set(key, b"x")
        with pytest.raises(PickleRefused):
            store.get(key)


def test_a_file_object_is_not_stored_as_a_value_file(folder: Path) -> None:
    """It would be written without fsync, beside the database."""
    with FencedCache(folder, patience_s=2.0) as store, pytest.raises(PickleRefused):
        store.set("x", io.BytesIO(b"x"), read=True)


@pytest.mark.parametrize("size", [32 * 1024 - 1, 32 * 1024, 5 * 2**20])
def test_a_value_of_32_kib_and_more_stays_in_the_database(folder: Path, size: int) -> None:
    """A plain diskcache writes it to a file that it never syncs, and that a crash tears."""
    with FencedCache(folder, patience_s=2.0) as store:
        store.set("x", b"v" * size)
        assert store.get("x") == b"v" * size
        names = {path.name for path in folder.iterdir()}
        assert names <= {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}


def test_a_row_that_points_to_a_file_is_refused(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """It could name any file of the machine."""
    buy(cache, ledger, image(1))
    tamper(
        folder,
        "UPDATE Cache SET mode = 2, filename = '/etc/passwd', value = NULL WHERE tag = 'row'",
    )
    with pytest.raises(PickleRefused, match="not inline bytes"):
        cache.get(image(1))


def test_a_value_in_another_mode_is_refused_by_the_disk_too() -> None:
    """Reads that diskcache makes inside a transaction pass the same gate."""
    disk = BytesOnlyDisk("/nowhere")
    assert disk.fetch(1, None, b"x", False) == b"x"
    for mode, filename, value in ((4, None, b"x"), (1, "f", b"x"), (1, None, "x"), (3, "f", None)):
        with pytest.raises(PickleRefused):
            disk.fetch(mode, filename, value, False)
    assert disk.get(b"k", 1) == b"k"
    with pytest.raises(PickleRefused):
        disk.get(b"k", 0)


def test_an_unbounded_retry_does_not_hang_a_reservation(cache: PaidCache, folder: Path) -> None:
    """diskcache's retry=True spins for ever; here it ends before anything is spent."""
    with PaidCache.open(folder, patience_s=0.2) as impatient, stuck_lock(folder):
        began = time.monotonic()
        with pytest.raises(CacheUnavailable, match="locked"):
            impatient.reserve(intent_of(image(1)), budget=10)
        assert time.monotonic() - began < 5
    assert cache.open_intents() == []


def test_an_unbounded_retry_does_not_hang_a_commit_and_the_answer_is_not_lost(
    folder: Path, ledger: Ledger
) -> None:
    """The intent stays open, and the same answer is stored when the lock is free again."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    rows = rows_of(intent, receipt)
    with PaidCache.open(folder, patience_s=0.2) as cache:
        cache.reserve(intent, budget=10)
        with stuck_lock(folder), pytest.raises(CacheUnavailable):
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
    """A lock that is let go of within the patience is no error."""
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


def test_a_transaction_shuts_out_other_writers_from_its_beginning(
    cache: PaidCache, folder: Path
) -> None:
    """BEGIN IMMEDIATE: what reserve has read cannot change before it writes."""
    with (
        cache._store.exclusive(),
        closing(sqlite3.connect(folder / DATABASE, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


def test_a_full_disk_is_said_at_once_and_changes_nothing(cache: PaidCache, ledger: Ledger) -> None:
    """SQLite is told that it may not grow: the same error as on a full disk."""
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


def test_an_error_inside_a_transaction_takes_everything_back(folder: Path) -> None:
    """Half a commit is none."""

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


def test_a_database_with_a_false_header_is_not_spent_into(cache: PaidCache, folder: Path) -> None:
    """SQLite itself would go on; its quick check does not."""
    cache.close()
    count_free_pages(folder, 5)
    with pytest.raises(CacheUnavailable, match="is damaged"):
        PaidCache.open(folder)


def test_a_database_torn_in_the_schema_is_said_to_be(cache: PaidCache, folder: Path) -> None:
    """Found while diskcache opens it."""
    cache.close()
    with (folder / DATABASE).open("r+b") as file:
        file.truncate(16384)
    with pytest.raises(CacheUnavailable, match="cannot be opened"):
        PaidCache.open(folder)


def test_a_malformed_database_is_not_spent_into(cache: PaidCache, folder: Path) -> None:
    """The damage is found before a query is bought, and named."""
    cache.close()
    path = folder / DATABASE
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(16384)
        file.write(os.urandom(size - 16384))
    with pytest.raises(CacheUnavailable):
        PaidCache.open(folder)


def test_a_file_that_is_no_database_is_not_overwritten(tmp_path: Path) -> None:
    """It may be something of value."""
    (tmp_path / DATABASE).write_bytes(b"dear diary" * 100)
    with pytest.raises(CacheUnavailable, match="not a database"):
        PaidCache.open(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"dear diary" * 100


def test_a_plain_diskcache_is_not_taken_for_a_cache_of_paid_rows(tmp_path: Path) -> None:
    """Its rows may be pickles and its settings evict."""
    with diskcache.Cache(str(tmp_path)) as plain:
        plain.set("x", 1)
    with pytest.raises(CacheUnavailable, match="format 0"):
        PaidCache.open(tmp_path)


def test_a_cache_of_a_newer_format_is_left_alone(folder: Path) -> None:
    """An older program would write what a newer one cannot read."""
    tamper(folder, "PRAGMA user_version = 2")
    with pytest.raises(CacheUnavailable, match="format 2, this program reads and writes 1"):
        PaidCache.open(folder)


def test_a_page_holds_several_rows(cache: PaidCache) -> None:
    """Pages of 4 KiB hold one row of 512 numbers and waste the rest."""
    assert list(cache.query("PRAGMA page_size")) == [(16384,)]
