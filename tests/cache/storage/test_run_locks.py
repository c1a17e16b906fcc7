"""Run locks: held while a run is running, free when its process ends."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache
from cache.storage.reader import CacheReader
from cache.storage.run_locks import active_runs, exclude_runs
from tests.cache.storage.test_processes import start

LIVING = """
import sys
from pathlib import Path
from cache.paid_cache import PaidCache

with PaidCache.open(Path(sys.argv[1])) as cache, cache.hold_run_lock(sys.argv[2]):
    print("alive", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def living(folder: Path, run: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `run` until its input ends."""
    with start(LIVING, folder, run) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "alive\n"
        yield client
        if client.poll() is None:
            client.communicate("\n")


def test_a_run_is_running_while_its_block_lasts(cache: PaidCache, folder: Path) -> None:
    """Every process sees it, also without permission to write."""
    assert not cache.is_running("run-1")
    with cache.hold_run_lock("run-1"), CacheReader.open(folder) as records:
        assert records.is_running("run-1")
        assert not records.is_running("run-2")
        assert active_runs(folder) == ["run-1"]
    assert not cache.is_running("run-1")
    assert active_runs(folder) == []


def test_a_killed_client_releases_its_lock_at_once(cache: PaidCache, folder: Path) -> None:
    """The kernel frees the lock; no lease has to expire and nothing has to be cleaned up."""
    with living(folder, "run-1") as client:
        assert cache.is_running("run-1")
        client.send_signal(signal.SIGKILL)
        client.wait()
        assert not cache.is_running("run-1")
        with cache.hold_run_lock("run-1"):
            assert active_runs(folder) == ["run-1"]


def test_several_runs_can_run_at_the_same_time(cache: PaidCache, folder: Path) -> None:
    """They share one budget."""
    with living(folder, "a"), cache.hold_run_lock("b"):
        assert active_runs(folder) == ["a", "b"]


def test_a_run_cannot_run_twice(cache: PaidCache, folder: Path) -> None:
    """Two processes with the same run name would settle each other's purchases."""
    with (
        living(folder, "run-1"),
        pytest.raises(CacheUnavailable, match="run-1 is running already"),
        cache.hold_run_lock("run-1"),
    ):
        pass


def test_a_run_may_have_a_name_that_a_file_cannot_have(cache: PaidCache, folder: Path) -> None:
    """Its file stays in its folder."""
    for run in ("../../etc", ".", "", "a/b", "ä b%2F", "gate"):
        with cache.hold_run_lock(run):
            assert cache.is_running(run)
            assert active_runs(folder) == [run]
            assert {path.parent for path in (folder / "alive").iterdir()} == {folder / "alive"}
    with pytest.raises(CacheUnavailable, match="cannot open"), cache.hold_run_lock("x" * 400):
        pass


def test_a_forked_child_keeps_the_lock_of_its_run(cache: PaidCache) -> None:
    """It may be sending; the run ends with the last of its processes."""
    reading, writing = os.pipe()
    with cache.hold_run_lock("run-1"):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
    # The file went with the block, but the child still shares the gate.
    with pytest.raises(CacheUnavailable, match="in use"), exclude_runs(cache.folder):
        pass
    os.close(writing)
    os.waitpid(child, 0)
    with exclude_runs(cache.folder):
        assert active_runs(cache.folder) == []


def test_no_run_starts_while_the_cache_is_repaired(cache: PaidCache, folder: Path) -> None:
    """And no repair starts while a run is running."""
    with (
        exclude_runs(folder),
        pytest.raises(CacheUnavailable, match="repaired or merged"),
        cache.hold_run_lock("run-1"),
    ):
        pass
    with (
        cache.hold_run_lock("run-1"),
        pytest.raises(CacheUnavailable, match="in use by run-1"),
        exclude_runs(folder),
    ):
        pass
    with exclude_runs(folder), pytest.raises(CacheUnavailable), exclude_runs(folder):
        pass


def test_lock_files_of_killed_runs_are_ignored_and_removed(cache: PaidCache, folder: Path) -> None:
    """A killed run leaves an unlocked file behind."""
    with living(folder, "run-1") as client:
        client.send_signal(signal.SIGKILL)
        client.wait()
    assert [path.name for path in (folder / "alive").glob("run-*")] == ["run-run-1"]
    assert not cache.is_running("run-1")
    with exclude_runs(folder):
        assert list((folder / "alive").glob("run-*")) == []
