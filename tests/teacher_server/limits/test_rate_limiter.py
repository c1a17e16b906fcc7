"""The limits of a key: exact at the limit, for any rate, and separate for each key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teacher_server.limits.rate_limiter import (
    ConcurrencyExceeded,
    KeyLimits,
    RateExceeded,
    RateLimiter,
)

SECOND = 10**9


class Clock:
    """A clock in nanoseconds that the test sets."""

    def __init__(self) -> None:
        self.now = 10 * SECOND

    def __call__(self) -> int:
        return self.now


def ask(limiter: RateLimiter, limits: KeyLimits, key: str = "k") -> None:
    with limiter.admit(key, limits):
        pass


def refused(limiter: RateLimiter, limits: KeyLimits) -> int:
    with pytest.raises(RateExceeded) as caught:
        ask(limiter, limits)
    return caught.value.wait_ns


@given(per_minute=st.integers(1, 700), idle=st.integers(0, 600 * SECOND))
def test_a_full_bucket_holds_a_minutes_requests_and_not_one_more(
    per_minute: int, idle: int
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    limiter = RateLimiter(clock_ns=clock)
    clock.now += idle
    for _ in range(per_minute):
        ask(limiter, limits)
    assert refused(limiter, limits) > 0


@given(
    per_minute=st.integers(1, 10**6),
    pauses=st.lists(st.integers(0, 2 * SECOND), max_size=30),
)
def test_a_request_after_the_stated_wait_is_admitted_and_a_nanosecond_earlier_is_not(
    per_minute: int, pauses: list[int]
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    limiter = RateLimiter(clock_ns=clock)
    for pause in pauses:
        clock.now += pause
        if limiter.state("k", limits).requests_left:
            ask(limiter, limits)
    while left := limiter.state("k", limits).requests_left:
        if left > 100:
            return  # draining a million is another test's
        ask(limiter, limits)
    wait = refused(limiter, limits)
    assert wait == limiter.state("k", limits).next_ns
    clock.now += wait - 1
    assert refused(limiter, limits) == 1
    clock.now += 1
    ask(limiter, limits)


@given(
    per_minute=st.integers(1, 60),
    steps=st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=200),
)
def test_no_time_span_admits_more_than_the_bucket_and_its_refill(
    per_minute: int, steps: list[int]
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    limiter, served = RateLimiter(clock_ns=clock), []
    for step in steps:
        clock.now += step
        try:
            ask(limiter, limits)
            served.append(clock.now)
        except RateExceeded:
            continue
    for i, start in enumerate(served):
        for count, end in enumerate(served[i:], start=1):
            assert count <= per_minute + (end - start) / (60 * SECOND / per_minute) + 1e-6


def test_the_rate_state_counts_down_and_refills() -> None:
    clock, limits = Clock(), KeyLimits(60, 5)
    limiter = RateLimiter(clock_ns=clock)
    assert limiter.state("k", limits).full_ns == 0
    ask(limiter, limits)
    state = limiter.state("k", limits)
    assert (state.requests_left, state.next_ns, state.full_ns) == (59, SECOND, SECOND)
    clock.now += SECOND // 2
    assert limiter.state("k", limits).requests_left == 59
    clock.now += SECOND // 2
    assert limiter.state("k", limits).requests_left == 60


def test_concurrency_is_limited_and_a_failed_request_no_longer_counts() -> None:
    limiter, limits = RateLimiter(clock_ns=Clock()), KeyLimits(100, 2)

    def fails() -> None:
        with limiter.admit("k", limits):
            assert limiter.state("k", limits).concurrent_left == 0
            with pytest.raises(ConcurrencyExceeded):
                ask(limiter, limits)
            message = "failed"
            raise ValueError(message)

    with limiter.admit("k", limits):
        with pytest.raises(ValueError, match="failed"):
            fails()
        ask(limiter, limits)
    state = limiter.state("k", limits)
    assert (state.concurrent_left, state.requests_left) == (2, 97)


def test_the_rate_of_one_key_does_not_affect_another() -> None:
    limiter, limits = RateLimiter(clock_ns=Clock()), KeyLimits(1, 1)
    ask(limiter, limits, "a")
    with pytest.raises(RateExceeded):
        ask(limiter, limits, "a")
    ask(limiter, limits, "b")


def test_a_lowered_limit_holds_at_once() -> None:
    limiter = RateLimiter(clock_ns=Clock())
    for _ in range(50):
        ask(limiter, KeyLimits(100, 1))
    lowered = KeyLimits(10, 1)
    assert limiter.state("k", lowered).requests_left == 5
    for _ in range(5):
        ask(limiter, lowered)
    assert refused(limiter, lowered) == limiter.state("k", lowered).next_ns
