"""The ledger behind a real PgBouncer, which gives each transaction whichever session is free."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.support.pgbouncer import pooled
from benchmarks.support.postgresql import Postgres, empty
from student.shared_budget.books import SharedBudget
from teacher_server.database.engine import open_engine, read_transaction, write_transaction
from teacher_server.ledger.ledger import Ledger, open_database
from teacher_server.ledger.purchase import Purchase, Reservation
from tests.support.ledger_operations import (
    PRICE,
    OneKeyLedger,
    body_of,
    one_key_ledger,
    serving_at,
)

ROOT = Path(__file__).parents[3]
# A server that reserves 4 units and says so, and then waits to be killed.
SERVER = """
import sys, time
from tests.support.ledger_operations import PRICE, serving_at
from teacher_server.ledger.purchase import Purchase
with serving_at(sys.argv[1], clock=lambda: 1_000_000) as (_, ledger):
    ledger.charges.reserve(
        Purchase(request_id="req_killed", key_id=sys.argv[2], idempotency_key="killed",
                 payload_sha256="f" * 64, images=4, texts=0), PRICE)
    ledger.key_use.take(sys.argv[2], "req_killed", interval_ns=1, window_ns=10**9, max_concurrent=9)
    print("reserved", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def pooled_dsn(postgres_dsn: str) -> Iterator[str]:
    """The database of the tests behind a pooler; fails without PgBouncer."""
    with pooled(postgres_dsn) as dsn:
        yield dsn


@pytest.fixture
def one_key_pooled(postgres_dsn: str, pooled_dsn: str) -> Iterator[OneKeyLedger]:
    empty(postgres_dsn)
    with one_key_ledger(pooled_dsn, budget=1000) as made:
        yield made


def buy(ledger: Ledger, key_id: str, number: int) -> None:
    purchase = Purchase(
        request_id=f"req_{key_id}_{number}",
        key_id=key_id,
        idempotency_key=f"k{number}",
        payload_sha256="f" * 64,
        images=1,
        texts=0,
    )
    assert ledger.key_use is not None
    use = ledger.key_use.take(
        key_id, purchase.request_id, interval_ns=1, window_ns=10**9, max_concurrent=100
    )
    assert use.is_admitted
    reservation = ledger.charges.reserve(purchase, PRICE)
    assert isinstance(reservation, Reservation)
    ledger.charges.post(reservation, model="m", model_fingerprint="sha256:f", render=body_of)
    ledger.key_use.give_back(purchase.request_id)


def test_two_servers_sell_while_their_transactions_change_sessions(
    one_key_pooled: OneKeyLedger,
) -> None:
    one_key = one_key_pooled
    clock = lambda: one_key.now[0]  # noqa: E731
    with serving_at(one_key.dsn, clock=clock) as (_, other), ThreadPoolExecutor(8) as pool:
        ledgers = [one_key.ledger, other]

        def buy_at_one(number: int) -> None:
            buy(ledgers[number % 2], one_key.key.id, number)
            if number % 10 == 0:
                ledgers[number % 2].sweep()

        # More often than the driver repeats a statement before it would prepare it.
        list(pool.map(buy_at_one, range(60)))
        assert one_key.state == (1000, 60, 0)
        assert one_key.faults == ()


def test_a_server_killed_behind_the_pooler_is_dead_at_once_and_a_live_one_is_not(
    one_key_pooled: OneKeyLedger,
) -> None:
    one_key = one_key_pooled
    with ExitStack() as stack:
        _, living = stack.enter_context(serving_at(one_key.dsn, clock=lambda: one_key.now[0]))
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", SERVER, one_key.dsn, one_key.key.id],
                stdout=subprocess.PIPE,
                cwd=ROOT,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == "reserved\n"
        living.charges.reserve(one_key.purchase(3), PRICE)
        assert one_key.ledger.sweep() == 0
        assert one_key.state == (1000, 0, 7)
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 30
        while one_key.ledger.sweep() == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert one_key.state == (1000, 0, 3)
        with read_transaction(one_key.engine) as connection:
            assert connection.scalar(text("SELECT count(*) FROM open_requests")) == 0


def test_the_lock_timeout_holds_in_a_write_and_does_not_stay_in_the_session(
    pooled_dsn: str,
) -> None:
    engine = open_engine(pooled_dsn)
    for _ in range(5):
        with write_transaction(engine) as connection:
            assert connection.scalar(text("SHOW lock_timeout")) == "10s"
        with read_transaction(engine) as connection:
            assert connection.scalar(text("SHOW lock_timeout")) == "0"
    engine.dispose()


def test_servers_that_start_at_once_migrate_a_new_database_through_the_pooler(
    postgres: Postgres,
) -> None:
    def start(number: int) -> str:
        with serving_at(dsn, clock=lambda: number) as (_, ledger):
            return ledger.boot_id

    # Each start keeps one session for its lock.
    with pooled(postgres.bare_database(), sessions=4) as dsn, ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(start, range(2)))) == 2
        with open_database(dsn) as engine, read_transaction(engine) as connection:
            assert connection.scalar(text("SELECT count(*) FROM boots")) == 2


def test_a_shared_budget_is_leased_through_the_pooler(postgres: Postgres) -> None:
    with pooled(postgres.bare_database()) as dsn:
        location = dsn.replace("+psycopg", "")
        books = SharedBudget.create(location, total=100, lease_size=10)
        for number in range(8):  # more often than the driver repeats before it would prepare
            books.open_lease(f"run{number}", "here")
            assert books.extend(f"run{number}", needed=1, wanted=5) >= 1
            books.close_lease(f"run{number}", spent=1)
        assert books.balance().total == 100


def test_without_pgbouncer_the_pooler_says_how_to_install_it(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="docker/install-test-programs"), pooled(postgres_dsn):
        raise AssertionError
