"""The meters of a key: exact at the edge, whatever the rate, and kept apart."""

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
    """Nanoseconds that the test turns."""

    def __init__(self) -> None:
        self.now = 10 * SECOND

    def __call__(self) -> int:
        return self.now


def ask(rates: RateLimiter, limits: KeyLimits, key: str = "k") -> None:
    with rates.admitted(key, limits):
        pass


def refused(rates: RateLimiter, limits: KeyLimits) -> int:
    with pytest.raises(RateExceeded) as caught:
        ask(rates, limits)
    return caught.value.wait_ns


@given(per_minute=st.integers(1, 700), idle=st.integers(0, 600 * SECOND))
def test_a_full_bucket_holds_a_minutes_requests_and_not_one_more(
    per_minute: int, idle: int
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    rates = RateLimiter(clock_ns=clock)
    clock.now += idle
    for _ in range(per_minute):
        ask(rates, limits)
    assert refused(rates, limits) > 0


@given(
    per_minute=st.integers(1, 10**6),
    pauses=st.lists(st.integers(0, 2 * SECOND), max_size=30),
)
def test_whoever_waits_as_long_as_was_said_is_served_and_a_nanosecond_less_is_not(
    per_minute: int, pauses: list[int]
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    rates = RateLimiter(clock_ns=clock)
    for pause in pauses:
        clock.now += pause
        if rates.standing("k", limits).requests_left:
            ask(rates, limits)
    while left := rates.standing("k", limits).requests_left:
        if left > 100:
            return  # draining a million is another test's
        ask(rates, limits)
    wait = refused(rates, limits)
    assert wait == rates.standing("k", limits).next_ns
    clock.now += wait - 1
    assert refused(rates, limits) == 1
    clock.now += 1
    ask(rates, limits)


@given(
    per_minute=st.integers(1, 60),
    steps=st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=200),
)
def test_no_span_of_time_sees_more_than_the_bucket_and_what_flowed_in(
    per_minute: int, steps: list[int]
) -> None:
    clock, limits = Clock(), KeyLimits(per_minute, 1)
    rates, served = RateLimiter(clock_ns=clock), []
    for step in steps:
        clock.now += step
        try:
            ask(rates, limits)
            served.append(clock.now)
        except RateExceeded:
            continue
    for i, start in enumerate(served):
        for count, end in enumerate(served[i:], start=1):
            assert count <= per_minute + (end - start) / (60 * SECOND / per_minute) + 1e-6


def test_the_standing_counts_down_and_fills_up_again() -> None:
    clock, limits = Clock(), KeyLimits(60, 5)
    rates = RateLimiter(clock_ns=clock)
    assert rates.standing("k", limits).full_ns == 0
    ask(rates, limits)
    standing = rates.standing("k", limits)
    assert (standing.requests_left, standing.next_ns, standing.full_ns) == (59, SECOND, SECOND)
    clock.now += SECOND // 2
    assert rates.standing("k", limits).requests_left == 59
    clock.now += SECOND // 2
    assert rates.standing("k", limits).requests_left == 60


def test_as_many_at_a_time_as_allowed_and_a_place_is_free_again_after_a_failure() -> None:
    rates, limits = RateLimiter(clock_ns=Clock()), KeyLimits(100, 2)

    def fails() -> None:
        with rates.admitted("k", limits):
            assert rates.standing("k", limits).concurrent_left == 0
            with pytest.raises(ConcurrencyExceeded):
                ask(rates, limits)
            message = "failed"
            raise ValueError(message)

    with rates.admitted("k", limits):
        with pytest.raises(ValueError, match="failed"):
            fails()
        ask(rates, limits)
    standing = rates.standing("k", limits)
    assert (standing.concurrent_left, standing.requests_left) == (2, 97)


def test_one_keys_haste_does_not_slow_another() -> None:
    rates, limits = RateLimiter(clock_ns=Clock()), KeyLimits(1, 1)
    ask(rates, limits, "a")
    with pytest.raises(RateExceeded):
        ask(rates, limits, "a")
    ask(rates, limits, "b")


def test_a_lowered_limit_holds_at_once() -> None:
    rates = RateLimiter(clock_ns=Clock())
    for _ in range(50):
        ask(rates, KeyLimits(100, 1))
    lowered = KeyLimits(10, 1)
    assert rates.standing("k", lowered).requests_left == 5
    for _ in range(5):
        ask(rates, lowered)
    assert refused(rates, lowered) == rates.standing("k", lowered).next_ns
