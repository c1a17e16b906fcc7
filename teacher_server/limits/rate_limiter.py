"""Limits of one key: a token bucket for its rate, and a count of its concurrent requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from teacher_server.errors import VendorError

_MINUTE_NS = 60 * 10**9


class RateExceeded(VendorError):
    """The bucket is empty; the next request is allowed `wait_ns` nanoseconds from now."""

    def __init__(self, message: str, *, wait_ns: int) -> None:
        super().__init__(message)
        self.wait_ns = wait_ns


class ConcurrencyExceeded(VendorError):
    """The key has as many concurrent requests as its limit allows."""


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """The limits of one key."""

    requests_per_minute: int
    max_concurrent: int

    @property
    def interval_ns(self) -> int:
        """Nanoseconds in which the bucket gains one request."""
        return max(1, _MINUTE_NS // self.requests_per_minute)


@dataclass(frozen=True, slots=True)
class RateState:
    """What a key may still send now; waits are in nanoseconds, 0 for a full bucket."""

    requests_left: int
    next_ns: int
    full_ns: int
    concurrent_left: int


@dataclass(slots=True)
class _Bucket:
    full_at_ns: int
    concurrent: int = 0


class RateLimiter:
    """The buckets of all keys, in one event loop and one process.

    A full bucket holds a minute's requests, so a key that was idle may send them at once. A restart
    fills the buckets: these limits share out the machine, and only the budget is a hard limit.
    SharedRateLimiter follows the same rules over several servers.
    """

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._buckets: dict[str, _Bucket] = {}

    @contextmanager
    def admit(self, key_id: str, limits: KeyLimits) -> Iterator[None]:
        """Take one request from the bucket and count it as concurrent until the block ends.

        Raises ConcurrencyExceeded or RateExceeded; a refused request takes nothing.
        """
        bucket = self._bucket(key_id)
        if bucket.concurrent >= limits.max_concurrent:
            message = f"the key has {bucket.concurrent} concurrent requests, which is its limit"
            raise ConcurrencyExceeded(message)
        now = self._clock_ns()
        # A bucket is stored as the instant at which it will be full: one integer, no rounding.
        full_at = max(bucket.full_at_ns, now) + limits.interval_ns
        wait = full_at - now - limits.requests_per_minute * limits.interval_ns
        if wait > 0:
            message = f"the key may send {limits.requests_per_minute} requests per minute"
            raise RateExceeded(message, wait_ns=wait)
        bucket.full_at_ns = full_at
        bucket.concurrent += 1
        try:
            yield
        finally:
            bucket.concurrent -= 1

    def state(self, key_id: str, limits: KeyLimits) -> RateState:
        """What the key may still send now."""
        bucket = self._bucket(key_id)
        missing_ns = max(0, bucket.full_at_ns - self._clock_ns())
        return rate_state(missing_ns, bucket.concurrent, limits)

    def _bucket(self, key_id: str) -> _Bucket:
        return self._buckets.setdefault(key_id, _Bucket(self._clock_ns()))


def rate_state(missing_ns: int, concurrent: int, limits: KeyLimits) -> RateState:
    """What a key may still send whose bucket is full in `missing_ns` nanoseconds."""
    interval = limits.interval_ns
    missing = -(-missing_ns // interval)
    return RateState(
        requests_left=max(0, limits.requests_per_minute - missing),
        # Usually the rest of one interval; longer if the limit was lowered in the meantime.
        next_ns=max(
            missing_ns - (missing - 1) * interval if missing else 0,
            missing_ns - (limits.requests_per_minute - 1) * interval,
        ),
        full_ns=missing_ns,
        concurrent_left=max(0, limits.max_concurrent - concurrent),
    )
