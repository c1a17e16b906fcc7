"""The clock of ledger entries, which tests replace."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]


def unix_ms() -> int:
    """The current time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
