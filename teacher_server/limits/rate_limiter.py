"""How fast and how widely one key may ask: a token bucket and a count of requests in progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from teacher_server.errors import VendorError

_MINUTE_NS = 60 * 10**9


class RateExceeded(VendorError):
    """The bucket is empty; `wait_ns` nanoseconds from now it holds the next request."""

    def __init__(self, message: str, *, wait_ns: int) -> None:
        super().__init__(message)
        self.wait_ns = wait_ns


class ConcurrencyExceeded(VendorError):
    """As many requests of the key are in progress as it may have."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What one key may do in this process."""

    requests_per_minute: int
    max_concurrent: int

    @property
    def interval_ns(self) -> int:
        """Nanoseconds in which the bucket gains one request."""
        return max(1, _MINUTE_NS // self.requests_per_minute)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left to a key now; waits are in nanoseconds, 0 for a full bucket."""

    requests_left: int
    next_ns: int
    full_ns: int
    concurrent_left: int


@dataclass(slots=True)
class _Meter:
    full_at_ns: int
    in_progress: int = 0


class RateLimiter:
    """The meters of every key, kept by one event loop and in its process alone.

    A full bucket holds a minute's requests, so a key that was quiet may send them at once. Another
    replica has meters of its own, and a restart fills every bucket: these limits share the machine
    out, the budget is what is hard.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._meters: dict[str, _Meter] = {}

    @contextmanager
    def admitted(self, key_id: str, limits: KeyLimits) -> Iterator[None]:
        """Take one request out of the bucket and hold a place until the block ends.

        Raises TooMany or TooFast; a refused request takes nothing.
        """
        meter = self._meter(key_id)
        if meter.in_progress >= limits.max_concurrent:
            message = f"{meter.in_progress} requests of this key are in progress, as many as it may"
            raise ConcurrencyExceeded(message)
        now = self._clock_ns()
        # The bucket is kept as the instant at which it will be full: one integer, no rounding.
        full_at = max(meter.full_at_ns, now) + limits.interval_ns
        wait = full_at - now - limits.requests_per_minute * limits.interval_ns
        if wait > 0:
            message = f"the key may send {limits.requests_per_minute} requests a minute"
            raise RateExceeded(message, wait_ns=wait)
        meter.full_at_ns = full_at
        meter.in_progress += 1
        try:
            yield
        finally:
            meter.in_progress -= 1

    def standing(self, key_id: str, limits: KeyLimits) -> Standing:
        """What the key may still do now."""
        meter = self._meter(key_id)
        interval, missing_ns = limits.interval_ns, max(0, meter.full_at_ns - self._clock_ns())
        missing = -(-missing_ns // interval)
        return Standing(
            requests_left=max(0, limits.requests_per_minute - missing),
            # Normally until the next one is there; longer where the limit was lowered meanwhile.
            next_ns=max(
                missing_ns - (missing - 1) * interval if missing else 0,
                missing_ns - (limits.requests_per_minute - 1) * interval,
            ),
            full_ns=missing_ns,
            concurrent_left=max(0, limits.max_concurrent - meter.in_progress),
        )

    def _meter(self, key_id: str) -> _Meter:
        return self._meters.setdefault(key_id, _Meter(self._clock_ns()))
