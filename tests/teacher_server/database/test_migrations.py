"""The schema: what the migrations build, and that they keep existing ledgers."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, inspect, select, text

import teacher_server.database.migrate as migrations
from benchmarks.support.postgresql import Postgres
from teacher_server.database.engine import open_engine, read_transaction, write_transaction
from teacher_server.database.tables import answers, metadata
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.entry import GENESIS, LedgerEntry
from teacher_server.ledger.purchase import Purged, Replay
from tests.support.ledger_operations import OneKeyLedger, body_of, one_key_ledger, tamper


@pytest.fixture(params=["sqlite", "postgresql"])
def bare_dsn(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.bare_database()


def migrate_to(engine: Engine, revision: str) -> None:
    """Migrate a database to an earlier version."""
    config = Config()
    folder = Path(migrations.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    with write_transaction(engine) as connection:
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
    with write_transaction(engine) as connection:
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


def test_a_ledger_of_version_0001_is_migrated_with_every_row(bare_dsn: str) -> None:
    engine, key = open_engine(bare_dsn), ApiKey.new()
    migrate_to(engine, "0001")
    entries = trade_as_version_0001(engine, key)
    engine.dispose()
    with one_key_ledger(bare_dsn) as one_key:
        one_key.key, one_key.number = key, 10
        assert one_key.entries == entries
        # The reservation belonged to another boot, and is released.
        assert one_key.state == (10, 8, 0)
        assert one_key.faults == ()
        account = one_key.ledger.keys.authenticate(key)
        assert account is not None
        assert (account.scopes, account.budget_period) == (("embed", "read"), "none")
        assert one_key.ledger.records.answer(key.id, "k1") == Replay(body_of(entries[1]))
        assert one_key.buy(2).prev_hash == entries[-1].hash
        assert one_key.faults == ()
        with read_transaction(one_key.engine) as connection:
            states = connection.execute(
                text("SELECT state FROM requests WHERE boot_id = 'boot_0' ORDER BY request_id")
            )
            assert states.scalars().all() == ["posted", "voided", "voided"]


def test_an_answer_that_was_purged_before_answers_had_a_table_stays_purged(bare_dsn: str) -> None:
    engine, key = open_engine(bare_dsn), ApiKey.new()
    migrate_to(engine, "0001")
    trade_as_version_0001(engine, key)
    migrate_to(engine, "0005")
    with write_transaction(engine) as connection:
        connection.execute(
            text("UPDATE requests SET body = NULL, purged_ms = 9 WHERE state = 'posted'")
        )
    engine.dispose()
    with one_key_ledger(bare_dsn) as one_key:
        assert one_key.ledger.records.answer(key.id, "k1") == Purged("req_1")
        assert one_key.faults == ()


def test_requests_of_postgresql_give_back_the_space_of_the_answers_that_they_held(
    postgres: Postgres,
) -> None:
    engine, key = open_engine(postgres.bare_database()), ApiKey.new()
    migrate_to(engine, "0001")
    trade_as_version_0001(engine, key)
    migrate_to(engine, "0005")
    body = random.Random(0).randbytes(2**20)  # random, because PostgreSQL compresses
    size = text("SELECT pg_total_relation_size('requests')")
    with write_transaction(engine) as connection:
        connection.execute(
            text("UPDATE requests SET body = :body WHERE state = 'posted'"), {"body": body}
        )
        assert connection.scalar(size) > len(body)
    migrations.migrate(engine)
    with read_transaction(engine) as connection:
        assert connection.scalar(size) < len(body) / 4
        assert connection.scalars(select(answers.c.body)).all() == [body]
    engine.dispose()


def test_the_triggers_of_version_0001_still_work_after_the_migration(bare_dsn: str) -> None:
    engine, key = open_engine(bare_dsn), ApiKey.new()
    migrate_to(engine, "0001")
    trade_as_version_0001(engine, key)
    engine.dispose()
    with one_key_ledger(bare_dsn) as one_key:
        for statement in (
            "UPDATE ledger_entries SET units = 0",
            "DELETE FROM ledger_entries",
            "UPDATE requests SET state = 'unheard'",
            "UPDATE requests SET purged_ms = 1 WHERE state = 'voided'",
            "UPDATE requests SET state = 'posted' WHERE state = 'voided'",
            "UPDATE answers SET body = NULL",
            "UPDATE requests SET idempotency_key = 'k1', state = 'reserved' WHERE state = 'voided'",
            "UPDATE requests SET key_id = 'nobody'",
            "UPDATE accounts SET spent_units = 11",
            "UPDATE accounts SET budget_period = 'week'",
            "UPDATE accounts SET budget_period = 'day'",
            "UPDATE accounts SET period_base_units = spent_units + 1",
        ):
            one_key.assert_database_refuses(statement)


def test_migrations_lead_to_the_tables_that_the_code_uses(one_key: OneKeyLedger) -> None:
    with one_key.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        seen = inspect(connection)
        for table in metadata.sorted_tables:
            expected = {c.name for c in table.constraints if isinstance(c, CheckConstraint)}
            found = {check["name"] for check in seen.get_check_constraints(table.name)}
            assert found == expected
            assert {i.name for i in table.indexes} <= {
                index["name"] for index in seen.get_indexes(table.name)
            }


def test_starting_again_migrates_nothing(one_key: OneKeyLedger) -> None:
    one_key.buy(1)
    migrations.migrate(one_key.engine)
    assert one_key.faults == ()


def test_the_triggers_refuse_what_tampering_does(one_key: OneKeyLedger) -> None:
    one_key.buy(1)
    one_key.assert_database_refuses("UPDATE ledger_entries SET texts = 5")
    tamper(one_key.engine, "UPDATE ledger_entries SET texts = 5")
    assert {entry.texts for entry in one_key.entries} == {5}
