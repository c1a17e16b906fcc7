"""What each process says of itself: one JSON line for every fact, on disk before it goes on.

A client writes `invoke` before a request leaves, then `ok` (200), `fail` (another status) or
`info` (no whole answer came: only the vendor knows). Every process writes `start`, `end` and,
when a failpoint ends it, `killed`. A line is one write to a file of the kernel's, so SIGKILL
cannot take it back.
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
    """Appends the events of one process; `t` is CLOCK_MONOTONIC, the same for all of a machine."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, **facts: object) -> None:
        """One event, now."""
        event = {"t": time.monotonic_ns(), "kind": kind} | facts
        os.write(self._file, (json.dumps(event, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(path: Path) -> Iterator[Event]:
    """The events of a file, none when its process did not live to make it.

    A last line that it did not live to end is left out.
    """
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        event: Event = json.loads(line)
        yield event


class KillSwitch:
    """Ends this process, as `kill -9` does, when `point` is reached for the n-th time."""

    def __init__(self, history: History, *, point: str = "", nth: int = 0) -> None:
        self._history = history
        self._point = point
        self._left = nth
        self._lock = threading.Lock()

    def reach(self, point: str) -> None:
        """Called by what stands around the product at a named point; mostly does nothing."""
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._history.write("killed", point=point)
                os.kill(os.getpid(), signal.SIGKILL)
