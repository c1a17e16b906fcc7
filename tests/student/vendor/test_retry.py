"""How long to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from student.errors import VendorError
from student.vendor.circuit_breaker import BreakerPolicy
from student.vendor.retry import RetryPolicy, is_retried, retry_after_seconds
from tests.support.ledger_vendor import LedgerVendor, problem
from tests.support.purchase_setup import Clock, client_of

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("12", 12.0),
        (" 3 ", 3.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:10 -0000", 10.0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOON) == seconds


def test_the_jitter_is_full_and_its_ceiling_doubles_up_to_a_cap() -> None:
    class Highest:
        def uniform(self, low: float, high: float) -> float:
            assert low == 0.0
            return high

    delay: Callable[..., float] = RetryPolicy(first_delay=0.5, longest_delay=30).delay
    delays = [delay(attempt, None, Highest()) for attempt in range(1, 9)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]


RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("status", [*range(201, 206), *range(300, 600)])
def test_every_status_is_either_final_or_retryable(status: int) -> None:
    assert is_retried(status, "request_in_flight") == (status in RETRIED)
    # A 409 for any other reason than a purchase in progress is permanent.
    assert is_retried(status, "anything") == (status in RETRIED - {409})


@given(attempt=st.integers(1, 2000), seed=st.integers())
def test_the_jitter_is_between_zero_and_the_ceiling(attempt: int, seed: int) -> None:
    retries = RetryPolicy(first_delay=0.5, longest_delay=30.0)
    ceiling = min(30.0, 0.5 * 2.0 ** min(attempt - 1, 60))
    assert 0.0 <= retries.delay(attempt, None, Random(seed)) <= ceiling


@given(attempt=st.integers(1, 20), asked=st.floats(0, 1e12), seed=st.integers())
def test_a_retry_after_is_waited_for_at_least_and_up_to_its_bound(
    attempt: int, asked: float, seed: int
) -> None:
    delay = RetryPolicy(first_delay=0.5, longest_retry_after=60.0).delay(
        attempt, asked, Random(seed)
    )
    assert min(asked, 60.0) <= delay <= min(asked, 60.0) + 0.5


def test_the_jitter_is_spread_over_the_whole_range() -> None:
    """Clients that were refused at the same time must not retry at the same time."""
    delays = [RetryPolicy(longest_delay=16).delay(20, None, Random(seed)) for seed in range(400)]
    counts = [sum(low <= delay < low + 4 for delay in delays) for low in (0, 4, 8, 12)]
    assert min(counts) > 60


@given(
    refusals=st.lists(
        st.tuples(
            st.sampled_from([408, 409, 425, 429, 500, 502, 503, 504]),
            st.sampled_from([None, "0", "1", "30", "86400"]),
        ),
        min_size=1,
        max_size=12,
    ),
    total=st.floats(0, 200),
    seconds_each=st.floats(0, 20),
)
@settings(max_examples=60)
def test_attempts_and_total_time_are_capped_whatever_the_vendor_says(
    refusals: list[tuple[int, str | None]], total: float, seconds_each: float
) -> None:
    """The last attempt begins within the total time; a success among the attempts ends it."""
    clock = Clock()
    begun: list[float] = []
    left = list(refusals)

    def far_end(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            return httpx.Response(200)
        begun.append(clock.now)
        clock.now += seconds_each
        if not left:
            return httpx.Response(200, json=LedgerVendor().price)
        status, wait = left.pop(0)
        headers = {} if wait is None else {"Retry-After": wait}
        return problem(status, "request_in_flight", headers=headers)

    async def ask() -> bool:
        retries = RetryPolicy(attempts=8, total_seconds=total)
        async with client_of(far_end, clock, retries) as client:
            try:
                await client.prices()
            except VendorError:
                return False
            return True

    has_succeeded = asyncio.run(ask())
    assert 1 <= len(begun) <= 8
    assert has_succeeded == (len(begun) == len(refusals) + 1)
    # The breaker's wait for a vendor that is down comes on top, and has its own cap.
    assert begun[-1] - begun[0] <= total + BreakerPolicy().longest_wait * (len(begun) > 5)
