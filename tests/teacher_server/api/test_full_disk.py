"""A database that takes no writes: it is said, nothing is charged, and it heals by itself."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, vendor_at
from teacher_server.database.write_faults import write_fault
from teacher_server.errors import LedgerError
from teacher_server.ledger import charges, request_rows
from teacher_server.ledger.ledger import open_database, open_ledger
from teacher_server.operations import storage

# Its answer does not fit into the free space of a page that is there already.
LARGE = [f"text {number}" for number in range(60)]


WRITES = ("_reserve_units", "_spend", "void")


def refuse_write() -> NoReturn:
    """Raise what SQLite raises when it may not write."""
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    raise DBAPIError(None, {}, error)


@contextmanager
def limited(engine: Engine, *, full: str, normal: str) -> Iterator[None]:
    """Run one PRAGMA on each connection until the block ends, and then another."""
    pragma = [full]

    def prepare(connection: DBAPIConnection, *_: object) -> None:
        connection.cursor().execute(f"PRAGMA {pragma[0]}")

    event.listen(engine, "checkout", prepare)
    try:
        yield
    finally:
        pragma[0] = normal


def full_disk(engine: Engine) -> object:
    """SQLite may not add a page: the same error as on a full disk."""
    return limited(engine, full="max_page_count = 1", normal="max_page_count = 1073741823")


def read_only(engine: Engine) -> object:
    return limited(engine, full="query_only = ON", normal="query_only = OFF")


@pytest.fixture(autouse=True)
def probed_at_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PROBE_SECONDS", 0.0)


@pytest.fixture
async def ready(vendor: Vendor) -> Vendor:
    """A vendor whose first probe has passed, without free pages in its file."""
    while (await vendor.http.get("/readyz")).status_code != 200:
        pass
    with vendor.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("BEGIN")
    return vendor


async def test_a_sale_on_a_full_disk_gets_503_with_the_cause_and_nothing_stays_reserved(
    ready: Vendor, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk(ready.engine), caplog.at_level(logging.WARNING):  # type: ignore[attr-defined]
        for attempt in range(3):
            refused = await ready.embed(LARGE, idempotency_key="k")
            assert refused.status_code == 503, (attempt, refused.text)
            problem = refused.json()
            assert problem["code"] == "storage_unavailable"
            assert "the disk of the database is full" in problem["detail"]
            assert (problem["charged_units"], problem["retriable"]) == (0, True)
            assert refused.headers["Retry-After"] == "10"
        answered = await ready.http.get("/readyz")
        assert answered.status_code == 503
        assert "database" in answered.json()["detail"]
        said = [one for one in caplog.messages if "the database takes no writes" in one]
        assert len(said) == 1
        assert not any(record.exc_info for record in caplog.records)
    # As soon as there is room: without a restart, and under the same key.
    sold = await ready.embed(LARGE, idempotency_key="k")
    assert sold.status_code == 200, sold.text
    assert (ready.account.spent_units, ready.account.reserved_units) == (len(LARGE), 0)
    assert ready.audit.faults == ()
    assert (await ready.http.get("/readyz")).status_code == 200
    assert any("takes writes again" in one for one in caplog.messages)


async def test_a_reservation_that_could_not_be_released_is_released_by_the_next_request(
    ready: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The charge and the release both fail; then there is room again."""
    broken = [True]
    for name, whole in (("_spend", charges._spend), ("void", request_rows.void)):
        monkeypatch.setattr(
            charges, name, lambda *a, whole=whole: refuse_write() if broken[0] else whole(*a)
        )
    refused = await ready.embed(["a", "b"], idempotency_key="k")
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    assert "the database is read-only" in refused.json()["detail"]
    assert ready.account.reserved_units == 2
    # Still reserved, so it is not sold; and no 409, which would say that work is going on.
    again = await ready.embed(["a", "b"], idempotency_key="k")
    asked = await ready.http.get("/v1/requests/k")
    assert (again.status_code, asked.status_code) == (503, 503)
    broken[0] = False
    sold = await ready.embed(["a", "b"], idempotency_key="k")
    assert sold.status_code == 200, sold.text
    assert (ready.account.spent_units, ready.account.reserved_units) == (2, 0)
    assert ready.audit.faults == ()


async def test_a_read_only_database_is_said_and_stored_answers_are_still_sent(
    ready: Vendor,
) -> None:
    sold = await ready.embed(["a"], idempotency_key="k")
    with read_only(ready.engine):  # type: ignore[attr-defined]
        refused = await ready.embed(["b"])
        assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
        assert "the database is read-only" in refused.json()["detail"]
        assert (await ready.embed(["a"], idempotency_key="k")).content == sold.content
        assert (await ready.http.get("/v1/requests/k")).content == sold.content
        assert (await ready.http.get("/livez")).status_code == 200
    assert (await ready.embed(["b"])).status_code == 200


def test_a_ledger_that_cannot_be_written_is_one_line_for_the_operator(tmp_path: Path) -> None:
    dsn = f"sqlite:///{tmp_path}/ledger.db"
    with (
        pytest.raises(LedgerError, match="cannot be written: the database is read-only"),
        open_database(dsn) as engine,
        read_only(engine),  # type: ignore[attr-defined]
        open_ledger(engine, lease_seconds=60),
    ):
        pass


@given(
    steps=st.lists(
        st.tuples(st.sets(st.sampled_from(WRITES)), st.integers(1, 3), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whichever_writes_fail_every_200_is_charged_once_and_nothing_else_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[set[str], int, bool]]
) -> None:
    """A step is a sale, under a new key or the last one, while some writes fail."""
    asyncio.run(_sell(tmp_path_factory.mktemp("ledger"), steps))


async def _sell(folder: Path, steps: list[tuple[set[str], int, bool]]) -> None:
    failing: set[str] = set()
    paid: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            whole = getattr(charges, name)
            patch.setattr(charges, name, _failing_when(failing, name, whole))
        async with vendor_at(folder, HashEncoder()) as vendor:
            key, items = "", ["x"]
            for number, (broken, count, is_new) in enumerate(steps):
                failing.clear()
                failing.update(broken)
                if is_new or not key:
                    key, items = f"k{number}", [f"text {number} {item}" for item in range(count)]
                answer = await vendor.embed(items, idempotency_key=key)
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    paid[key] = len(items)
            failing.clear()
            for _ in range(2):
                assert (await vendor.embed(["last"], idempotency_key="last")).status_code == 200
            paid["last"] = 1
            account = vendor.account
            assert (account.spent_units, account.reserved_units) == (sum(paid.values()), 0)
            assert vendor.audit.faults == ()


def _failing_when(failing: set[str], name: str, whole: Callable[..., object]) -> object:
    def call(*arguments: object) -> object:
        if name in failing:
            refuse_write()
        return whole(*arguments)

    return call


class FromPostgresql(Exception):
    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("sqlstate", "fault"),
    [
        ("53100", "the disk of the database is full"),
        ("25006", "the database is read-only"),
        ("58030", "the disk of the database reports an error"),
        ("40001", None),
        ("23505", None),
    ],
)
def test_the_states_of_postgresql_are_recognised(sqlstate: str, fault: str | None) -> None:
    error = DBAPIError("INSERT", {}, FromPostgresql(sqlstate))
    assert write_fault(error) == fault
