"""Pickles and value files, kept out of a cache in both directions."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import diskcache
import pytest

from cache.errors import PickleRefused
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.storage.fenced_diskcache import BytesOnlyDisk, FencedCache
from cache.storage.folder import DATABASE
from tests.support.cache_purchases import (
    Ledger,
    buy,
    image,
    tamper,
)


class Bomb:
    """An attacker's pickle: unpickling it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.trace),))


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
    """The control: the pickle of these tests does run code."""
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
    """Reads that diskcache makes inside a transaction are checked as well."""
    disk = BytesOnlyDisk("/nowhere")
    assert disk.fetch(1, None, b"x", False) == b"x"
    for mode, filename, value in ((4, None, b"x"), (1, "f", b"x"), (1, None, "x"), (3, "f", None)):
        with pytest.raises(PickleRefused):
            disk.fetch(mode, filename, value, False)
    assert disk.get(b"k", 1) == b"k"
    with pytest.raises(PickleRefused):
        disk.get(b"k", 0)
