"""Which runs are buying into a cache at this moment.

A run that buys holds a lock of the kernel on a file of its own, which ends with its process, also
on kill -9. All of them share a second lock, the gate, which repair and merge take for themselves.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from cache.errors import CacheUnavailable

ALIVE: Final = "alive"
_GATE: Final = "gate"
_RUN: Final = "run-"
# Who only asks holds the lock for an instant; a run that starts must not take that for a rival.
_PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.01


@contextmanager
def hold_run_lock(folder: Path, run: str) -> Iterator[None]:
    """Be known to every process as the living run `run` of the cache in `folder`.

    A child that is forked meanwhile keeps the run alive until it ends, too. Raises
    CacheUnavailable when the run is alive already, or while the cache is repaired or merged.
    """
    gate = _locked(folder / ALIVE / _GATE, fcntl.LOCK_SH)
    if gate is None:
        message = f"the cache at {folder} is being repaired or merged: wait for its end"
        raise CacheUnavailable(message)
    try:
        with _held(folder / ALIVE / _run_name(run), run):
            yield
    finally:
        os.close(gate)


def is_alive(folder: Path, run: str) -> bool:
    """Whether a process holds `run` alive, this one included; writes nothing."""
    return _is_held(folder / ALIVE / _run_name(run))


def live_runs(folder: Path) -> list[str]:
    """The runs that are alive, by name; writes nothing."""
    if not (folder / ALIVE).is_dir():
        return []
    names = sorted(path.name for path in (folder / ALIVE).iterdir() if path.name.startswith(_RUN))
    return [unquote(name.removeprefix(_RUN)) for name in names if _is_held(folder / ALIVE / name)]


@contextmanager
def nobody_alive(folder: Path) -> Iterator[None]:
    """Keep every run from starting; CacheUnavailable, naming them, when some are alive."""
    gate = _open(folder / ALIVE / _GATE)
    try:
        if not _lock(gate, fcntl.LOCK_EX):
            runs = ", ".join(live_runs(folder)) or "another repair or merge"
            message = f"the cache at {folder} is in use by {runs}: stop it first"
            raise CacheUnavailable(message)
        for path in (folder / ALIVE).glob(f"{_RUN}*"):
            # Left behind by a killed run: none can be alive or starting behind the gate.
            path.unlink(missing_ok=True)
        yield
    finally:
        os.close(gate)


@contextmanager
def _held(path: Path, run: str) -> Iterator[None]:
    held = _locked(path, fcntl.LOCK_EX)
    if held is None:
        message = f"the run {run} is alive already: a second one needs a name of its own"
        raise CacheUnavailable(message)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def _locked(path: Path, kind: int) -> int | None:
    """`path` open and locked; None when others keep the lock."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        file = _open(path)
        if _lock(file, kind):
            if _is_still(path, file):
                return file
            # Its last holder took the file away while we waited: lock the one that is there now.
            os.close(file)
            continue
        os.close(file)
        if time.monotonic() >= deadline:
            return None
        time.sleep(_PAUSE_S)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        message = f"{path} cannot be opened, so nobody would know of this run: {error.strerror}"
        raise CacheUnavailable(message) from error


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, file: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False


def _is_held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        message = f"{path} cannot be read, so nobody knows whether its run is alive"
        raise CacheUnavailable(message) from error
    try:
        return not _lock(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


def _run_name(run: str) -> str:
    return f"{_RUN}{quote(run, safe='')}"
