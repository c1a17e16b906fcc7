"""The schema: what the migrations build, and that they carry existing books over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, inspect, text

import teacher_server.database.migrate as migrations
from benchmarks.support.postgresql import Postgres
from teacher_server.database.engine import open_engine, reading, writing
from teacher_server.database.tables import metadata
from teacher_server.ledger.entry import GENESIS, LedgerEntry
from teacher_server.ledger.keys import ApiKey
from tests.support.ledger_operations import Books, body_of, books_at, meddle


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.bare_database()


def migrate_to(engine: Engine, revision: str) -> None:
    """Bring a database to a version of the past."""
    config = Config()
    folder = Path(migrations.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def trade_as_version_0001(engine: Engine, key: ApiKey) -> list[LedgerEntry]:
    """A key hashed as then, a grant of 10, a charge of 8, one reserved and one voided request."""
    grant = LedgerEntry(
        seq=1, kind="grant", request_id="req_g", idempotency_key="", model="",
        model_fingerprint="", images=0, texts=0, units=10, cost_micro_usd=0, price_version="p0",
        balance_units=10, created_ms=1, prev_hash=GENESIS,
    ).sealed()  # fmt: skip
    charge = LedgerEntry(
        seq=2, kind="charge", request_id="req_1", idempotency_key="k1", model="m",
        model_fingerprint="f", images=8, texts=0, units=8, cost_micro_usd=800, price_version="p0",
        balance_units=2, created_ms=2, prev_hash=grant.hash,
    ).sealed()  # fmt: skip
    old_hash = hashlib.sha256(f"{key.id}\0{key.secret}".encode()).hexdigest()
    with writing(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO accounts VALUES "
                f"('{key.id}', 'old', 'sha256:{old_hash}', 10, 8, 1, 2, '{charge.hash}', 1, NULL)"
            )
        )
        columns = ", ".join(grant.document())
        marks = ", ".join(f":{name}" for name in grant.document())
        for entry in (grant, charge):
            connection.execute(
                text(
                    f"INSERT INTO ledger_entries (key_id, {columns}) VALUES ('{key.id}', {marks})"
                ),
                entry.document(),
            )
        for number, state, body in (
            (1, "posted", body_of(charge)),
            (2, "reserved", None),
            (3, "voided", None),
        ):
            units = 8 if state == "posted" else 1
            connection.execute(
                text(
                    f"INSERT INTO requests VALUES ('req_{number}', '{key.id}', 'k{number}', 'f', "
                    f"'{state}', {units}, 0, {units}, 100, 'p0', 'boot_0', 2, 3, 2, :body)"
                ),
                {"body": body},
            )
    return [grant, charge]


def test_books_of_version_0001_are_carried_over_with_every_row(bare_dsn: str) -> None:
    engine, key = open_engine(bare_dsn), ApiKey.new()
    migrate_to(engine, "0001")
    entries = trade_as_version_0001(engine, key)
    engine.dispose()
    with books_at(bare_dsn) as books:
        books.key, books.number = key, 10
        assert books.entries == entries
        # The reservation was another boot's, and is given back.
        assert books.standing == (10, 8, 0)
        assert books.faults == ()
        account = books.ledger.keys.authenticate(key)
        assert account is not None
        assert (account.scopes, account.budget_period) == (("embed", "read"), "none")
        assert books.ledger.books.answer(key.id, "k1") is not None
        assert books.buy(2).prev_hash == entries[-1].hash
        assert books.faults == ()
        with reading(books.engine) as connection:
            states = connection.execute(
                text("SELECT state FROM requests WHERE boot_id = 'boot_0' ORDER BY request_id")
            )
            assert states.scalars().all() == ["posted", "voided", "voided"]


def test_the_guards_of_version_0001_still_stand_after_the_migration(bare_dsn: str) -> None:
    engine, key = open_engine(bare_dsn), ApiKey.new()
    migrate_to(engine, "0001")
    trade_as_version_0001(engine, key)
    engine.dispose()
    with books_at(bare_dsn) as books:
        for statement in (
            "UPDATE ledger_entries SET units = 0",
            "DELETE FROM ledger_entries",
            "UPDATE requests SET state = 'unheard'",
            "UPDATE requests SET body = NULL WHERE state = 'posted'",
            "UPDATE requests SET idempotency_key = 'k1', state = 'reserved' WHERE state = 'voided'",
            "UPDATE requests SET key_id = 'nobody'",
            "UPDATE accounts SET spent_units = 11",
            "UPDATE accounts SET budget_period = 'week'",
            "UPDATE accounts SET budget_period = 'day'",
            "UPDATE accounts SET period_base_units = spent_units + 1",
        ):
            books.refused_by_the_database(statement)


def test_migrations_lead_to_the_tables_that_the_code_uses(books: Books) -> None:
    with books.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        seen = inspect(connection)
        for table in metadata.sorted_tables:
            expected = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
            found = {check["name"] for check in seen.get_check_constraints(table.name)}
            assert found == expected
            assert {i.name for i in table.indexes} <= {
                index["name"] for index in seen.get_indexes(table.name)
            }


def test_starting_again_migrates_nothing(books: Books) -> None:
    books.buy(1)
    migrations.migrate(books.engine)
    assert books.faults == ()


def test_meddling_is_what_the_guards_refuse_to_others(books: Books) -> None:
    books.buy(1)
    books.refused_by_the_database("UPDATE ledger_entries SET texts = 5")
    meddle(books.engine, "UPDATE ledger_entries SET texts = 5")
    assert {entry.texts for entry in books.entries} == {5}
