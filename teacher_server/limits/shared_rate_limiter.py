"""The limits of a key over all servers that share one PostgreSQL database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from teacher_server.ledger.key_use import KeyUse
from teacher_server.limits.rate_limiter import (
    ConcurrencyExceeded,
    KeyLimits,
    RateExceeded,
    RateState,
    rate_state,
)


@dataclass(frozen=True, slots=True)
class _Seen:
    full_at_ns: int  # by the clock of this process
    concurrent: int


class SharedRateLimiter:
    """The same rules as RateLimiter, counted in the database; its calls wait for it.

    `state` does not: it is what the key's last request in this process has seen.
    """

    def __init__(self, key_use: KeyUse, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._key_use = key_use
        self._clock_ns = clock_ns
        self._seen: dict[str, _Seen] = {}

    def take(self, key_id: str, request_id: str, limits: KeyLimits) -> None:
        """Take one request from the bucket, and count it as concurrent until it is given back.

        Raises ConcurrencyExceeded or RateExceeded; a refused request takes nothing.
        """
        window_ns = limits.requests_per_minute * limits.interval_ns
        use = self._key_use.take(
            key_id,
            request_id,
            interval_ns=limits.interval_ns,
            window_ns=window_ns,
            max_concurrent=limits.max_concurrent,
        )
        self._seen[key_id] = _Seen(self._clock_ns() + use.missing_ns, use.concurrent)
        if use.is_admitted:
            return
        if use.concurrent >= limits.max_concurrent:
            message = f"the key has {use.concurrent} concurrent requests, which is its limit"
            raise ConcurrencyExceeded(message)
        message = f"the key may send {limits.requests_per_minute} requests per minute"
        wait_ns = use.missing_ns + limits.interval_ns - window_ns
        # At least 1: there may be room since the request was refused.
        raise RateExceeded(message, wait_ns=max(1, wait_ns))

    def give_back(self, request_id: str) -> None:
        """Count the request as concurrent no longer; doing so twice changes nothing."""
        self._key_use.give_back(request_id)

    def state(self, key_id: str, limits: KeyLimits) -> RateState:
        """What the key may still send, as its last request in this process has seen it."""
        now = self._clock_ns()
        seen = self._seen.get(key_id, _Seen(now, 0))
        return rate_state(max(0, seen.full_at_ns - now), seen.concurrent, limits)
