"""Locks that show which runs are using a cache right now.

A run that buys holds an exclusive lock on a file of its own. The operating system releases it when
the process ends, also after kill -9. All runs share a second lock, the gate, which repair and merge
take exclusively. portalocker provides the locks: flock on POSIX, LockFileEx on Windows (written for
Windows, not tested there).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import portalocker
from portalocker import LockFlags

from cache.errors import CacheUnavailable

LOCKS: Final = "alive"  # the folder's name on disk
_GATE: Final = "gate"
_RUN: Final = "run-"
# A reader that checks a run holds the lock for an instant; a starting run must wait that long.
_PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.01


@contextmanager
def hold_run_lock(folder: Path, run: str) -> Iterator[None]:
    """Mark `run` as running on the cache in `folder`, for every process to see.

    A child process that is forked inside the block keeps the mark until it ends. Raises
    CacheUnavailable if the run is running already, or while the cache is repaired or merged.
    """
    gate = _acquire(folder / LOCKS / _GATE, LockFlags.SHARED)
    if gate is None:
        message = f"the cache in {folder} is being repaired or merged: try again when that is done"
        raise CacheUnavailable(message)
    try:
        with _hold(folder / LOCKS / _file_name(run), run):
            yield
    finally:
        os.close(gate)


def is_running(folder: Path, run: str) -> bool:
    """Whether any process, this one included, holds the lock of `run`. Writes nothing."""
    return _is_locked(folder / LOCKS / _file_name(run))


def active_runs(folder: Path) -> list[str]:
    """Return the names of the runs that are running. Writes nothing."""
    if not (folder / LOCKS).is_dir():
        return []
    names = sorted(path.name for path in (folder / LOCKS).iterdir() if path.name.startswith(_RUN))
    return [unquote(name.removeprefix(_RUN)) for name in names if _is_locked(folder / LOCKS / name)]


@contextmanager
def exclude_runs(folder: Path) -> Iterator[None]:
    """Keep every run from starting. Raises CacheUnavailable, with names, if any is running."""
    gate = _open(folder / LOCKS / _GATE)
    try:
        if not _try_lock(gate, LockFlags.EXCLUSIVE):
            runs = ", ".join(active_runs(folder)) or "another repair or merge"
            message = f"the cache in {folder} is in use by {runs}: stop it first"
            raise CacheUnavailable(message)
        for path in (folder / LOCKS).glob(f"{_RUN}*"):
            # Left behind by killed runs: while the gate is locked, no run is running or starting.
            path.unlink(missing_ok=True)
        yield
    finally:
        os.close(gate)


@contextmanager
def _hold(path: Path, run: str) -> Iterator[None]:
    file = _acquire(path, LockFlags.EXCLUSIVE)
    if file is None:
        message = f"the run {run} is running already: give the second run another name"
        raise CacheUnavailable(message)
    try:
        yield
    finally:
        # Before the lock goes, so that nobody can lock the old file in between (see _acquire).
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
        os.close(file)
        if sys.platform == "win32":
            # Windows deletes no open file; if another process opened it by now, it stays.
            with suppress(OSError):
                path.unlink()


def _acquire(path: Path, kind: LockFlags) -> int | None:
    """Open and lock `path`; None if others keep the lock for longer than `_PATIENCE_S`."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        file = _open(path)
        if _try_lock(file, kind):
            if _is_same_file(path, file):
                return file
            # The last holder deleted the file while we waited: lock the file that is there now.
            os.close(file)
            continue
        os.close(file)
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE_S)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        message = f"cannot open {path}, so other processes could not see this run: {error.strerror}"
        raise CacheUnavailable(message) from error


def _try_lock(file: int, kind: LockFlags) -> bool:
    try:
        portalocker.lock(file, kind | LockFlags.NON_BLOCKING)
    except portalocker.AlreadyLocked:
        return False
    return True


def _is_same_file(path: Path, file: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        message = f"cannot read {path}, so it is not known whether its run is running"
        raise CacheUnavailable(message) from error
    try:
        return not _try_lock(file, LockFlags.SHARED)
    finally:
        os.close(file)


def _file_name(run: str) -> str:
    return f"{_RUN}{quote(run, safe='')}"
