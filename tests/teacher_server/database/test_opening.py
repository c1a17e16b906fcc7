"""Opening the ledger's database, and properties of SQLite files."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.support.postgresql import Postgres
from teacher_server.database.engine import open_engine, read_transaction, write_transaction
from teacher_server.errors import LedgerError
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.ledger import open_database, open_ledger
from tests.support.ledger_operations import OneKeyLedger, one_key_ledger, serving_at


@pytest.fixture
def dsn(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


def test_opening_again_keeps_everything(dsn: str) -> None:
    with one_key_ledger(dsn) as one_key:
        one_key.buy(3)
        before, key = one_key.entries, one_key.key
    with one_key_ledger(dsn) as again:
        assert again.ledger.records.entries(key.id) == before
        assert again.ledger.keys.authenticate(key) is not None
        assert again.faults == ()


def test_sqlite_is_opened_durable_and_strict(one_key: OneKeyLedger) -> None:
    with read_transaction(one_key.engine) as connection:
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


def test_a_writer_holds_the_lock_from_its_first_statement(one_key: OneKeyLedger) -> None:
    with write_transaction(one_key.engine):
        other = sqlite3.connect(str(one_key.engine.url.database), timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_second_server_on_the_same_file_is_refused(dsn: str) -> None:
    with one_key_ledger(dsn), pytest.raises(LedgerError, match="another server"):  # noqa: SIM117
        with one_key_ledger(dsn):
            raise AssertionError


def test_a_second_server_is_refused_under_any_name_of_the_file(tmp_path: Path, dsn: str) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "ledger.db")
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    with one_key_ledger(dsn):
        for name in ("link.db", "folder/ledger.db", "folder/link.db"):
            with (
                pytest.raises(LedgerError, match="another server"),
                serving_at(f"sqlite:///{tmp_path}/{name}", clock=lambda: 0),
            ):
                raise AssertionError


def test_a_pepper_is_beside_the_file_and_not_beside_a_link_to_it(tmp_path: Path, dsn: str) -> None:
    link, key = tmp_path / "link.db", ApiKey.new()
    link.symlink_to(tmp_path / "ledger.db")
    with (
        open_database(f"sqlite:///{link}") as engine,
        open_ledger(engine, lease_seconds=60) as ledger,
    ):
        ledger.keys.create(key, name="n", budget=1, price_version="p")
    with open_database(dsn) as engine, open_ledger(engine, lease_seconds=60) as ledger:
        assert ledger.keys.authenticate(key) is not None
    assert not (tmp_path / "link.db.pepper").exists()


def test_keys_can_be_made_while_a_server_runs(one_key: OneKeyLedger, dsn: str) -> None:
    with open_database(dsn) as engine:
        one_key.open_key(3)
        with read_transaction(engine) as connection:
            assert connection.scalar(text("SELECT count(*) FROM accounts")) == 2


@pytest.mark.parametrize(
    "dsn",
    [
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "postgres://books:hunter22@127.0.0.1/books",
        "postgresql://books:hunter22@127.0.0.1:port/books",
        "postgresql+nodriver://books:hunter22@127.0.0.1/books",
        "mysql+pymysql://books:hunter22@127.0.0.1/books",
        "sqlite:////proc/x/ledger.db",
        "sqlite:////dev/null/x/ledger.db",
        "sqlite:///~nobody-of-that-name/ledger.db",
    ],
)
def test_a_dsn_that_cannot_hold_a_ledger_is_refused_in_one_line_without_its_password(
    dsn: str,
) -> None:
    with pytest.raises(LedgerError) as caught:
        open_engine(dsn)
    assert "\n" not in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with one_key_ledger("sqlite:///~/vendor/ledger.db") as one_key:
        one_key.buy(1)
    assert (tmp_path / "vendor" / "ledger.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["vendor"]


def test_a_file_that_is_not_a_database_is_refused_in_one_line(tmp_path: Path, dsn: str) -> None:
    (tmp_path / "ledger.db").write_text("not a database, and long enough to be looked at " * 50)
    with pytest.raises(LedgerError, match="cannot be opened") as caught, open_database(dsn):
        raise AssertionError
    assert "\n" not in str(caught.value)


def test_an_unreachable_postgresql_is_reported_in_one_line_without_its_password() -> None:
    with (
        pytest.raises(LedgerError, match="cannot be opened") as caught,
        open_database("postgresql://books:hunter22@127.0.0.1:1/books"),
    ):
        raise AssertionError
    assert "\n" not in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_postgresql_waits_for_a_lock_as_long_as_sqlite_and_no_longer(postgres_dsn: str) -> None:
    with open_database(postgres_dsn) as engine, write_transaction(engine) as connection:
        assert connection.scalar(text("SHOW lock_timeout")) == "10s"
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "30s"


def test_a_plain_postgresql_dsn_takes_the_driver_that_is_installed(postgres: Postgres) -> None:
    assert open_engine(f"postgresql:///x?host={postgres.folder}").driver == "psycopg"


def test_a_postgresql_database_without_an_encoding_holds_a_ledger(postgres: Postgres) -> None:
    dsn = postgres.bare_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    with serving_at(dsn, clock=lambda: 1) as (_, ledger):
        key = ApiKey.new()
        ledger.keys.create(key, name="Zo\xeb", budget=5, price_version="p")
        assert ledger.keys.get(key.id).name == "Zo\xeb"
