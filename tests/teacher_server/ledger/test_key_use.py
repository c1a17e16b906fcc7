"""A key's limits hold over all servers on one PostgreSQL database, by the rules of one server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from benchmarks.support.postgresql import empty
from teacher_server.database.engine import open_engine, read_transaction, write_transaction
from teacher_server.database.server_locks import hold_server_lock
from teacher_server.ledger.key_use import KeyUse
from teacher_server.limits.rate_limiter import (
    ConcurrencyExceeded,
    KeyLimits,
    RateExceeded,
    RateLimiter,
    RateState,
)
from teacher_server.limits.shared_rate_limiter import SharedRateLimiter

SECOND = 10**9
MANY = KeyLimits(600, 1000)


@dataclass
class Servers:
    """Servers on one database, whose clock the test sets, in nanoseconds."""

    engine: Engine
    now: int = 1_700_000_000 * SECOND
    boots: dict[str, ExitStack] = field(default_factory=dict)

    def start(self, boot_id: str) -> tuple[KeyUse, SharedRateLimiter]:
        """A server that holds its lock until `end`."""
        stack = self.boots[boot_id] = ExitStack()
        stack.enter_context(hold_server_lock(self.engine, boot_id))
        use = KeyUse(self.engine, boot_id=boot_id, clock_ns=self.clock)
        return use, SharedRateLimiter(use, clock_ns=self.clock)

    def end(self, boot_id: str) -> None:
        """Free the lock, as PostgreSQL does for a server that was killed."""
        self.boots.pop(boot_id).close()

    def clock(self) -> int:
        return self.now

    def concurrent(self, key_id: str = "k") -> int:
        with read_transaction(self.engine) as connection:
            found = connection.scalar(
                text("SELECT concurrent FROM key_use WHERE key_id = :k"), {"k": key_id}
            )
            held = connection.scalar(
                text("SELECT count(*) FROM open_requests WHERE key_id = :k"), {"k": key_id}
            )
        assert held == (found or 0)
        return int(found or 0)

    def execute(self, statement: str) -> None:
        with write_transaction(self.engine) as connection:
            connection.execute(text(statement))


@pytest.fixture
def servers(postgres_dsn: str) -> Iterator[Servers]:
    empty(postgres_dsn)
    engine = open_engine(postgres_dsn)
    found = Servers(engine)
    try:
        yield found
    finally:
        for boot_id in list(found.boots):
            found.end(boot_id)
        engine.dispose()


@dataclass
class TwoServers:
    """Two servers, and how many examples they have served, each with keys of its own."""

    servers: Servers
    limiters: dict[str, SharedRateLimiter]
    examples: int = 0


@pytest.fixture
def two(servers: Servers) -> TwoServers:
    return TwoServers(servers, {name: servers.start(name)[1] for name in ("first", "second")})


def outcome(call: Callable[[], object]) -> tuple[str, int]:
    """What became of a request, and the wait in nanoseconds."""
    try:
        call()
    except ConcurrencyExceeded:
        return "concurrent", 0
    except RateExceeded as error:
        return "rate", error.wait_ns
    return "admitted", 0


STEP = st.tuples(
    st.sampled_from(["first", "second"]),  # the server
    st.sampled_from(["a", "b"]),  # the key
    st.sampled_from(["ask", "ask", "finish"]),
    st.integers(0, 20_000_000).map(lambda microseconds: microseconds * 1000),  # the pause before
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    limits=st.builds(KeyLimits, st.integers(1, 12), st.integers(1, 3)),
    steps=st.lists(STEP, min_size=5, max_size=20),
)
def test_two_servers_admit_what_one_server_would(
    two: TwoServers, limits: KeyLimits, steps: list[tuple[str, str, str, int]]
) -> None:
    alone = RateLimiter(clock_ns=two.servers.clock)
    two.examples += 1
    running: dict[str, list[tuple[str, ExitStack]]] = {"a": [], "b": []}
    for number, (server, name, action, pause) in enumerate(steps):
        two.servers.now += pause
        limiter = two.limiters[server]
        key, request = f"{name}{two.examples}", f"req_{two.examples}_{number}"
        if action == "ask":
            stack = ExitStack()
            expected = outcome(partial(stack.enter_context, alone.admit(key, limits)))
            assert outcome(partial(limiter.take, key, request, limits)) == expected
            assert limiter.state(key, limits) == alone.state(key, limits)
            if expected[0] == "admitted":
                running[name].append((request, stack))
        elif running[name]:
            request, stack = running[name].pop(0)
            stack.close()
            limiter.give_back(request)
        assert two.servers.concurrent(key) == len(running[name])


def taken_at_once(servers: Servers, limits: KeyLimits, requests: int) -> int:
    """How many of these requests two servers admit that are asked by many threads."""
    limiters = [servers.start(name)[1] for name in ("first", "second")]

    def ask(number: int) -> bool:
        took = outcome(lambda: limiters[number % 2].take("k", f"req_{number}", limits))
        return took[0] == "admitted"

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(requests)))


def test_a_burst_over_two_servers_is_admitted_up_to_the_rate_of_the_key(servers: Servers) -> None:
    assert taken_at_once(servers, KeyLimits(20, 1000), 100) == 20


def test_concurrent_requests_over_two_servers_are_admitted_up_to_the_limit_of_the_key(
    servers: Servers,
) -> None:
    assert taken_at_once(servers, KeyLimits(600, 7), 100) == 7
    assert servers.concurrent() == 7


def test_what_the_requests_of_a_dead_server_hold_is_freed_and_no_other(servers: Servers) -> None:
    _, dying = servers.start("dying")
    use, living = servers.start("living")
    for number in range(3):
        dying.take("k", f"dying_{number}", MANY)
    dying.take("other", "dying_3", MANY)
    living.take("k", "living_0", MANY)
    use.sweep()
    assert servers.concurrent() == 4
    servers.end("dying")
    use.sweep()
    assert (servers.concurrent(), servers.concurrent("other")) == (1, 0)


def test_a_request_that_is_given_back_twice_or_after_a_sweep_counts_once(servers: Servers) -> None:
    _, first = servers.start("first")
    use, second = servers.start("second")
    for number in range(3):
        first.take("k", f"req_{number}", MANY)
    first.give_back("req_0")
    first.give_back("req_0")
    assert servers.concurrent() == 2
    servers.end("first")  # it lost its lock, but runs
    use.sweep()
    first.give_back("req_1")
    assert servers.concurrent() == 0
    second.take("k", "req_9", MANY)
    first.give_back("req_2")
    assert servers.concurrent() == 1


def test_what_the_database_did_not_take_back_is_given_back_by_the_next_sweep(
    servers: Servers,
) -> None:
    use, limiter = servers.start("first")
    limiter.take("k", "req_1", MANY)
    servers.execute("ALTER TABLE open_requests RENAME TO away")
    limiter.give_back("req_1")  # does not raise: the request has been answered
    servers.execute("ALTER TABLE away RENAME TO open_requests")
    assert servers.concurrent() == 1
    use.sweep()
    assert servers.concurrent() == 0


def test_a_clock_of_the_database_that_is_set_back_does_not_lock_a_key_out(servers: Servers) -> None:
    _, limiter = servers.start("first")
    limits = KeyLimits(2, 10)
    for number in range(2):
        limiter.take("k", f"req_{number}", limits)
    servers.now -= 3600 * SECOND
    limiter.take("k", "req_2", limits)
    limiter.take("k", "req_3", limits)
    with pytest.raises(RateExceeded) as caught:
        limiter.take("k", "req_4", limits)
    assert caught.value.wait_ns == 30 * SECOND


def test_the_database_uses_its_own_clock_and_writes_limits_to_no_log(servers: Servers) -> None:
    use = KeyUse(servers.engine, boot_id="b")
    limiter = SharedRateLimiter(use)
    limiter.take("k", "req_1", KeyLimits(1, 10))
    with pytest.raises(RateExceeded) as caught:
        limiter.take("k", "req_2", KeyLimits(1, 10))
    assert 0 < caught.value.wait_ns <= 60 * SECOND
    left = limiter.state("k", KeyLimits(1, 10))
    assert isinstance(left, RateState)
    assert left.requests_left == 0
    with read_transaction(servers.engine) as connection:
        kinds = connection.scalars(
            text(
                "SELECT relpersistence FROM pg_class WHERE relname IN ('key_use', 'open_requests')"
            )
        ).all()
    assert kinds == ["u", "u"]  # unlogged: their commits wait for no disk
