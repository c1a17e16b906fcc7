"""The time on every line of the ledger; tests turn one of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]


def unix_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
