"""Opening, migrating, locking and verifying the books; a forged line is named."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from teacher_server.errors import LedgerError
from teacher_server.ledger.charges import Purchase, Reservation
from teacher_server.ledger.engine import open_engine, reading, writing
from teacher_server.ledger.keys import ApiKey
from teacher_server.ledger.ledger import Ledger, opened
from teacher_server.ledger.price import Price
from teacher_server.ledger.tables import metadata
from tests.teacher_server.in_process import ledger_at

PRICE = Price(version="p", micro_usd_per_unit=3)


def trade(ledger: Ledger, times: int = 3) -> ApiKey:
    """A key with a grant and some charges of two units each."""
    key = ApiKey.new()
    ledger.keys.create(key, name="n", budget=100, price_version="p")
    for number in range(times):
        purchase = Purchase(
            request_id=f"req_{number}",
            key_id=key.id,
            idempotency_key=f"k{number}",
            payload_sha256="f" * 64,
            images=1,
            texts=1,
        )
        reservation = ledger.charges.reserve(purchase, PRICE)
        assert isinstance(reservation, Reservation)
        ledger.charges.post(
            reservation, model="m", model_fingerprint="f", render=lambda entry: b"{}"
        )
    return key


def forge(folder: Path, *statements: str) -> None:
    """Change the books as somebody with the file could: triggers dropped, checks off."""
    connection = sqlite3.connect(folder / "ledger.db")
    connection.execute("DROP TRIGGER ledger_entries_no_update")
    connection.execute("DROP TRIGGER ledger_entries_no_delete")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_untouched_books_balance(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (_, ledger):
        trade(ledger)
        audit = ledger.books.verify()
    assert (audit.keys, audit.entries, audit.units_charged, audit.faults) == (1, 4, 6, ())


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE ledger_entries SET units = 1 WHERE seq = 3", "seq 3: the entry was altered"),
        ("UPDATE ledger_entries SET cost_micro_usd = 0 WHERE seq = 2", "seq 2: the entry was alt"),
        ("UPDATE ledger_entries SET created_ms = 1 WHERE seq = 4", "seq 4: the entry was altered"),
        ("UPDATE ledger_entries SET hash = prev_hash WHERE seq = 2", "seq 3: prev_hash is not"),
        ("DELETE FROM ledger_entries WHERE seq = 3", "seq 4: expected seq 3"),
        ("DELETE FROM ledger_entries WHERE seq = 4", "the account row says"),
        ("UPDATE accounts SET spent_units = 4", "the account row says"),
        ("UPDATE accounts SET budget_units = 1000", "the account row says"),
        ("UPDATE accounts SET reserved_units = 1", "1 reserved units, its open requests 0"),
        ("DELETE FROM requests WHERE request_id = 'req_1'", "request req_1: charged 2 units"),
        ("UPDATE requests SET units = 9 WHERE request_id = 'req_2'", "req_2: charged 2 units in"),
        (
            "UPDATE requests SET state = 'voided', body = NULL WHERE request_id = 'req_0'",
            "req_0: charged 2 units in the ledger, None by its answer",
        ),
    ],
)
def test_a_forged_line_is_named(tmp_path: Path, statement: str, fault: str) -> None:
    with ledger_at(tmp_path) as (_, ledger):
        trade(ledger)
        forge(tmp_path, statement)
        assert any(fault in one for one in ledger.books.verify().faults)


def test_a_line_forged_with_its_hash_recomputed_breaks_the_next(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (_, ledger):
        key = trade(ledger)
        entry = ledger.books.entries(key.id)[2]
        forge(tmp_path, "UPDATE ledger_entries SET texts = 0 WHERE seq = 3")
        forged = ledger.books.entries(key.id)[2].sealed()
        connection = sqlite3.connect(tmp_path / "ledger.db")
        connection.execute("UPDATE ledger_entries SET hash = ? WHERE seq = 3", (forged.hash,))
        connection.commit()
        connection.close()
        assert forged.hash != entry.hash
        assert any("seq 4: prev_hash" in fault for fault in ledger.books.verify().faults)


def test_migrations_lead_to_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (engine, _), engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        checks = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
        )
        written = " ".join(sql for (sql,) in checks)
    for table in metadata.tables.values():
        for constraint in table.constraints:
            assert str(constraint.name) in written


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (_, ledger):
        key = trade(ledger)
        before = ledger.books.entries(key.id)
    with ledger_at(tmp_path) as (_, ledger):
        assert ledger.books.entries(key.id) == before
        assert ledger.books.verify().faults == ()


def test_sqlite_is_opened_durable_and_strict(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (engine, _), reading(engine) as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


def test_a_writer_holds_the_lock_from_its_first_statement(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (engine, _), writing(engine):
        other = sqlite3.connect(tmp_path / "ledger.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_second_server_on_the_same_file_is_refused(tmp_path: Path) -> None:
    with ledger_at(tmp_path), pytest.raises(LedgerError, match="another server"):  # noqa: SIM117
        with ledger_at(tmp_path):
            raise AssertionError


def test_keys_can_be_made_while_a_server_runs(tmp_path: Path) -> None:
    with ledger_at(tmp_path) as (_, ledger), opened(f"sqlite:///{tmp_path}/ledger.db") as engine:
        with reading(engine) as connection:
            assert connection.scalar(text("SELECT count(*) FROM accounts")) == 0
        trade(ledger)
        with reading(engine) as connection:
            assert connection.scalar(text("SELECT count(*) FROM accounts")) == 1


@pytest.mark.parametrize("dsn", ["nonsense", "sqlite://", "sqlite:///:memory:"])
def test_a_dsn_that_cannot_hold_books_is_refused(dsn: str) -> None:
    with pytest.raises(LedgerError):
        open_engine(dsn)


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, and long enough to be looked at " * 50)
    with (
        pytest.raises(LedgerError, match="cannot be opened") as caught,
        opened(f"sqlite:///{tmp_path}/ledger.db"),
    ):
        raise AssertionError
    assert "\n" not in str(caught.value)


def test_the_schema_can_be_written_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=dialect))
    (index,) = (
        index
        for index in metadata.tables["requests"].indexes
        if index.name == "uq_requests_live_idempotency_key"
    )
    assert "WHERE state <> 'voided'" in str(CreateIndex(index).compile(dialect=dialect))
