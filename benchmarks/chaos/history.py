"""The event log of one process: one JSON line per event, written before the process continues.

A client writes `invoke` before it sends a request, then `ok` (status 200), `fail` (another status)
or `info` (no complete answer arrived, so only the vendor knows the outcome). Every process writes
`start`, `end` and, when a kill switch ends it, `killed`. A line is a single write to the kernel, so
SIGKILL cannot remove it.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

Event = dict[str, Any]


class History:
    """Appends events to a file. `t` is CLOCK_MONOTONIC in nanoseconds, shared by all processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, **facts: object) -> None:
        """Append one event with the current time."""
        event = {"t": time.monotonic_ns(), "kind": kind} | facts
        os.write(self._file, (json.dumps(event, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Event]:
    """Yield the events of a file; none if it does not exist.

    An incomplete last line, which a killed process may leave, is skipped.
    """
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        event: Event = json.loads(line)
        yield event


class KillSwitch:
    """Kills this process with SIGKILL when `point` is reached for the n-th time."""

    def __init__(self, history: History, *, point: str = "", nth: int = 0) -> None:
        self._history = history
        self._point = point
        self._left = nth
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        """Report that the process has reached a named point; usually does nothing."""
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._history.write("killed", point=point)
                os.kill(os.getpid(), signal.SIGKILL)
