"""The ledger on both databases: schema, rights, pepper, keys and dates."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.support.postgresql import Postgres
from teacher_server.cli import main
from teacher_server.ledger.ledger import open_database, open_ledger
from tests.teacher_server.doctor.conftest import Doctor


def change(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def test_the_schema_of_an_older_version_is_a_warning_and_an_unknown_one_an_error(
    doctor: Doctor, ledger_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(ledger_file, "UPDATE alembic_version SET version_num = '0001'")
    code, found = doctor()
    assert (code, found["schema"][0]["level"]) == (0, "warning")
    assert "backup" in found["schema"][0]["fix"]
    change(ledger_file, "UPDATE alembic_version SET version_num = '9999'")
    code, found = doctor()
    assert (code, found["schema"][0]["level"]) == (1, "error")
    assert main(["keys", "list", "--database", f"sqlite:///{ledger_file}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("cannot be opened: Can't locate revision identified by '9999'")


def test_a_file_that_is_no_database_is_an_error(doctor: Doctor, ledger_file: Path) -> None:
    ledger_file.write_bytes(b"not a database, " * 100)
    code, found = doctor()
    assert (code, found["ledger"][0]["detail"]) == (1, "file is not a database")


def test_a_pepper_that_is_gone_is_an_error_and_none_is_made(
    doctor: Doctor, ledger_file: Path
) -> None:
    pepper = Path(f"{ledger_file}.pepper")
    pepper.chmod(0o644)
    code, found = doctor()
    assert (code, found["pepper"][0]["fix"]) == (0, f"chmod 600 {pepper}")
    pepper.unlink()
    code, found = doctor()
    assert (code, found["pepper"][0]["level"]) == (1, "error")
    assert not pepper.exists()


def test_a_ledger_whose_keys_cannot_buy_is_a_warning(doctor: Doctor, ledger_file: Path) -> None:
    change(ledger_file, "UPDATE accounts SET revoked_ms = 1")
    code, found = doctor()
    assert (code, found["keys"][0]["detail"]) == (0, "none of 1 keys can buy")
    change(ledger_file, "UPDATE accounts SET revoked_ms = NULL, spent_units = 9")
    assert doctor()[1]["keys"][0]["level"] == "warning"
    change(ledger_file, "UPDATE accounts SET budget_period = 'day', period_units = 9")
    assert doctor()[1]["keys"][0]["level"] == "ok"


def test_a_clock_that_is_behind_the_ledger_is_an_error(doctor: Doctor, ledger_file: Path) -> None:
    change(ledger_file, "DROP TRIGGER ledger_entries_no_update")
    change(ledger_file, "UPDATE ledger_entries SET created_ms = 4102444800000")
    code, found = doctor()
    assert code == 1
    assert "2100-01-01 00:00 UTC, which is in the future" in found["clock"][-1]["detail"]


def test_a_vendor_that_is_selling_is_named_and_its_newest_entries_are_read(
    doctor: Doctor, ledger_file: Path
) -> None:
    dsn = f"sqlite:///{ledger_file}"
    with open_database(dsn) as engine, open_ledger(engine, lease_seconds=60) as ledger:
        (account,) = ledger.keys.all()
        ledger.keys.revoke(account.id)  # this is in the WAL alone
        code, found = doctor()
        assert (code, found["keys"][0]["detail"]) == (0, "none of 1 keys can buy")
        assert found["database"][1]["detail"].startswith("a vendor is using this ledger")
    assert len(doctor()[1]["database"]) == 1


def test_postgresql_needs_a_pepper_and_a_role_that_may_write(
    doctor: Doctor, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = postgres.bare_database()
    code, found = doctor("--database", bare)
    assert (code, found["pepper"][0]["level"]) == (1, "error")
    assert "set TEACHER_PEPPER" in found["pepper"][0]["detail"]
    monkeypatch.setenv("TEACHER_PEPPER", "p" * 32)
    code, found = doctor("--database", bare)
    assert (code, "no tables yet" in found["schema"][0]["detail"]) == (0, True)
    assert found["database"][0]["detail"].endswith("it takes writes")
    assert doctor("--database", bare)[1]["schema"] == found["schema"]  # nothing was migrated
    read_only = f"{bare}&options=-c%20default_transaction_read_only%3Don"
    code, found = doctor("--database", read_only)
    assert (code, found["database"][0]["level"]) == (1, "error")


def test_a_postgresql_server_that_does_not_answer_is_an_error_without_the_password(
    doctor: Doctor,
) -> None:
    code, found = doctor("--database", "postgresql://me:hidden@127.0.0.1:1/books")
    assert code == 1
    assert "hidden" not in str(found)
    assert "fix" in found["ledger"][0]


def test_the_ledger_of_a_postgresql_server_is_read(
    doctor: Doctor,
    postgres_dsn: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEACHER_PEPPER", "p" * 32)
    assert main(["keys", "create", "--name", "n", "--budget", "1", "--database", postgres_dsn]) == 0
    capsys.readouterr()
    code, found = doctor("--database", postgres_dsn)
    assert code == 0
    assert found["schema"][0]["detail"] == "it is that of this version"
    assert found["keys"][0]["level"] == "ok"
