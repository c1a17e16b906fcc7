"""While the vendor is down no purchase is sent, and all requests share one probe of /readyz."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from random import Random

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.errors import VendorError, VendorUnreachable
from student.vendor.circuit_breaker import BreakerPolicy, CircuitBreaker
from student.vendor.retry import RetryPolicy
from tests.support.ledger_vendor import LedgerVendor, lost_answer, problem
from tests.support.purchase_setup import Clock, PurchaseSetup, client_of

OUTAGES = BreakerPolicy(
    failures=3, first_wait=1.0, longest_wait=8.0, total_seconds=100.0, first_contact_seconds=20
)


class Probe:
    """Returns the given answers, then "not ready"."""

    def __init__(self, *answers: bool) -> None:
        self.answers: Iterator[bool] = iter(answers)
        self.asked = 0

    async def __call__(self) -> bool:
        self.asked += 1
        return next(self.answers, False)


def breaker_of(probe: Probe, clock: Clock, outages: BreakerPolicy = OUTAGES) -> CircuitBreaker:
    return CircuitBreaker(outages, probe=probe, sleep=clock.sleep, clock=clock, random=Random(0))


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.record_failure("ConnectError", answered=True)


async def test_fewer_failures_in_a_row_than_the_limit_let_requests_through(clock: Clock) -> None:
    probe = Probe()
    breaker = breaker_of(probe, clock)
    for _ in range(5):
        fail(breaker, 2)
        assert await breaker.wait_until_closed()
        breaker.record_success()
    assert (probe.asked, clock.sleeps) == (0, [])


async def test_it_polls_until_the_vendor_is_ready_and_then_continues(clock: Clock) -> None:
    probe = Probe(False, False, True)
    breaker = breaker_of(probe, clock)
    fail(breaker, 3)
    assert breaker.is_open
    assert await breaker.wait_until_closed()
    assert probe.asked == 3
    assert await breaker.wait_until_closed()
    assert probe.asked == 3


async def test_all_waiting_requests_share_one_probe(clock: Clock) -> None:
    probe = Probe(False, True)
    breaker = breaker_of(probe, clock)
    fail(breaker, 3)
    assert all(await asyncio.gather(*(breaker.wait_until_closed() for _ in range(20))))
    assert probe.asked == 2


async def test_all_waiting_requests_fail_at_the_time_cap(clock: Clock) -> None:
    probe = Probe()
    breaker = breaker_of(probe, clock)
    started = clock.now
    fail(breaker, 3)
    assert not any(await asyncio.gather(*(breaker.wait_until_closed() for _ in range(20))))
    assert 50 < clock.now - started <= OUTAGES.total_seconds
    asked = probe.asked
    assert not await breaker.wait_until_closed()
    assert probe.asked == asked
    assert "3 failures in a row (the last: ConnectError)" in breaker.description


async def test_a_vendor_that_is_ready_but_keeps_failing_is_given_up_too(clock: Clock) -> None:
    """Ready, and then the next request fails again: the waits go on growing up to the cap."""
    probe = Probe(*[True] * 1000)
    breaker = breaker_of(probe, clock)
    started = clock.now
    fail(breaker, 3)
    trials = 0
    while await breaker.wait_until_closed():
        trials += 1
        breaker.record_failure("HTTP 500")
    assert trials < 30
    assert clock.now - started <= OUTAGES.total_seconds


async def test_an_answer_ends_the_outage_and_the_next_outage_has_its_own_time_cap(
    clock: Clock,
) -> None:
    probe = Probe(*[True] * 1000)
    breaker = breaker_of(probe, clock)
    for _ in range(20):
        clock.now += 90
        fail(breaker, 3)
        assert await breaker.wait_until_closed()
        breaker.record_success()
    assert clock.sleeps == [sleep for sleep in clock.sleeps if sleep <= 1.0]


async def test_a_probe_that_never_ends_counts_as_not_ready(clock: Clock) -> None:
    async def endless_probe() -> bool:
        await asyncio.Event().wait()
        raise AssertionError

    outages = BreakerPolicy(failures=1, probe_seconds=0.001, first_wait=10.0, total_seconds=25.0)
    breaker = CircuitBreaker(
        outages, probe=endless_probe, sleep=clock.sleep, clock=clock, random=Random(0)
    )
    fail(breaker, 1)
    assert not await breaker.wait_until_closed()


async def test_a_cancelled_waiter_passes_the_probe_to_the_next(clock: Clock) -> None:
    class Held(Probe):
        async def __call__(self) -> bool:
            self.asked += 1
            if self.asked == 1:
                await asyncio.Event().wait()
            return True

    probe = Held()
    breaker = breaker_of(probe, clock)
    fail(breaker, 3)
    first = asyncio.create_task(breaker.wait_until_closed())
    second = asyncio.create_task(breaker.wait_until_closed())
    while not probe.asked:
        await asyncio.sleep(0)
    first.cancel()
    assert await second
    with pytest.raises(asyncio.CancelledError):
        await first


@given(probe=st.integers(1, 10_000), seed=st.integers())
def test_waits_double_up_to_the_cap_and_at_least_half_of_each_is_waited(
    probe: int, seed: int
) -> None:
    outages = BreakerPolicy(first_wait=0.5, longest_wait=15.0)
    ceiling = min(15.0, 0.5 * 2.0 ** min(probe - 1, 50))
    assert ceiling / 2 <= outages.wait(probe, Random(seed)) <= ceiling


async def test_during_an_outage_buyers_poll_readyz_and_send_no_purchase(
    setup: PurchaseSetup,
) -> None:
    """The vendor goes down in the middle and comes back; everything is bought once."""
    paths: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        probes = paths.count("/readyz")
        if len(paths) > 4 and probes < 4:
            message = "refused"
            raise httpx.ConnectError(message)
        return setup.vendor(request)

    setup.handler = flaky
    end = await setup.buy(setup.images(40), concurrency=4, batch_size=2)
    assert (end.bought, setup.vendor.spent, end.stop_reason) == (40, 40, "complete")
    first, last = paths.index("/readyz"), len(paths) - paths[::-1].index("/readyz")
    assert set(paths[first:last]) == {"/readyz"}
    assert paths.count("/v1/embeddings") - 20 <= BreakerPolicy().failures + 4
    setup.assert_cache_matches_ledger()


async def test_a_vendor_that_stays_down_stops_the_run_with_a_clear_message(
    setup: PurchaseSetup,
) -> None:
    paths: list[str] = []

    def dead(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.method == "POST" and paths.count("/v1/embeddings") == 3:
            return lost_answer(setup.vendor, request)
        message = "refused"
        raise httpx.ConnectError(message)

    setup.handler = dead
    started = setup.clock.now
    with pytest.raises(
        VendorUnreachable, match=r"could not be reached: \d failures in a row.*/readyz"
    ) as caught:
        await setup.buy(
            setup.images(40), retry_policy=RetryPolicy(attempts=50, total_seconds=10_000)
        )
    assert setup.clock.now - started < 2 * BreakerPolicy().total_seconds
    assert paths.count("/v1/embeddings") <= 8
    assert str(caught.value).endswith(("Nothing was charged.", "so that it is paid once."))
    # The purchase whose answer was lost is still open, and is paid once.
    setup.handler = None
    end = await setup.buy(setup.images(40))
    assert (end.recovered, end.bought, setup.vendor.spent) == (4, 36, 40)
    setup.assert_cache_matches_ledger()


@pytest.mark.parametrize("is_doubtful", [True, False])
async def test_the_final_error_states_what_is_known_about_charges(
    clock: Clock, is_doubtful: bool
) -> None:
    def dead(request: httpx.Request) -> httpx.Response:
        message = "gone"
        raise (httpx.ReadError if is_doubtful else httpx.ConnectError)(message)

    vendor = LedgerVendor()
    async with client_of(dead, clock, RetryPolicy(attempts=50, total_seconds=9999)) as client:
        with pytest.raises(VendorUnreachable) as caught:
            await client.models()
        assert caught.value.charged is (None if is_doubtful else False)
    assert vendor.spent == 0


@pytest.mark.parametrize("status", [400, 401, 402, 404, 409, 422, 429])
async def test_a_refusal_counts_as_the_vendor_being_up(clock: Clock, status: int) -> None:
    """Any status but 5xx proves that the vendor is up: the breaker stays closed."""
    paths: list[str] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return problem(status, "request_in_flight")

    async with client_of(refuse, clock, RetryPolicy(attempts=3)) as client:
        for _ in range(4):
            with pytest.raises(VendorError):
                await client.prices()
    assert "/readyz" not in paths


async def test_a_vendor_that_never_answered_is_given_up_sooner(clock: Clock) -> None:
    breaker = breaker_of(Probe(), clock)
    started = clock.now
    for _ in range(3):
        breaker.record_failure("ConnectError")
    assert not await breaker.wait_until_closed()
    assert 10 < clock.now - started <= OUTAGES.first_contact_seconds
    assert breaker.description.startswith("could not be reached: 3 failures")
