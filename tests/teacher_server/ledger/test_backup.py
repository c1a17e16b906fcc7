"""A copy of the books: complete, verified, private; it replaces nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from teacher_server.cli import main
from teacher_server.database.engine import open_engine
from teacher_server.errors import LedgerError
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.backup import back_up, restore
from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.ledger.purchase import Price, Purchase, Reservation
from teacher_server.ledger.records import Records
from tests.support.ledger_operations import body_of

PRICE = Price(version="2026-11", micro_usd_per_unit=100)


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/vendor/ledger.db"


@pytest.fixture
def key() -> ApiKey:
    return ApiKey.new()


@pytest.fixture
def selling(database: str, key: ApiKey) -> Iterator[Ledger]:
    """A ledger that a server holds open, with a key of 1,000 queries."""
    with open_database(database) as engine, open_ledger(engine, lease_seconds=60) as ledger:
        ledger.keys.create(key, name="me", budget=1_000, price_version=PRICE.version)
        yield ledger


def sell(ledger: Ledger, key: ApiKey, number: int) -> None:
    purchase = Purchase(
        request_id=f"req_{number}",
        key_id=key.id,
        idempotency_key=f"k-{number}",
        payload_sha256="0" * 64,
        images=1,
        texts=0,
    )
    held = ledger.charges.reserve(purchase, PRICE)
    assert isinstance(held, Reservation)
    ledger.charges.post(held, model="m", model_fingerprint="sha256:0", render=body_of)


def charged(path: Path) -> int:
    with open_database(f"sqlite:///{path}") as engine:
        audit = Records(engine).verify()
    assert not audit.faults
    return audit.units_charged


def test_a_copy_made_while_sales_go_on_is_sound_and_has_all_that_were_answered_before(
    selling: Ledger, database: str, key: ApiKey, tmp_path: Path
) -> None:
    for number in range(20):
        sell(selling, key, number)
    goes_on = threading.Event()

    def sell_on() -> None:
        number = 20
        while not goes_on.is_set():
            sell(selling, key, number)
            number += 1

    seller = threading.Thread(target=sell_on)
    seller.start()
    try:
        with open_database(database) as engine:
            copy = back_up(engine, tmp_path / "copy.db")
    finally:
        goes_on.set()
        seller.join()
    assert copy.audit.units_charged >= 20
    assert charged(tmp_path / "copy.db") == copy.audit.units_charged


def test_a_restored_ledger_knows_the_key_the_balance_and_the_paid_answers(
    selling: Ledger, database: str, key: ApiKey, tmp_path: Path
) -> None:
    for number in range(3):
        sell(selling, key, number)
    with open_database(database) as engine:
        back_up(engine, tmp_path / "copy.db")
    engine = open_engine(f"sqlite:///{tmp_path}/new/ledger.db")
    before = (tmp_path / "copy.db").read_bytes()
    assert restore(tmp_path / "copy.db", engine).has_pepper
    assert (tmp_path / "copy.db").read_bytes() == before
    with (
        open_database(f"sqlite:///{tmp_path}/new/ledger.db") as engine,
        open_ledger(engine, lease_seconds=60) as ledger,
    ):
        account = ledger.keys.authenticate(key)
        assert account is not None
        assert account.spent_units == 3
        again = Purchase(
            request_id="req_again",
            key_id=key.id,
            idempotency_key="k-1",
            payload_sha256="0" * 64,
            images=1,
            texts=0,
        )
        assert ledger.charges.find_earlier(again) is not None


def test_the_copy_and_its_pepper_can_be_read_by_their_owner_only(
    selling: Ledger, database: str, tmp_path: Path
) -> None:
    with open_database(database) as engine:
        back_up(engine, tmp_path / "copy.db")
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert names == {"copy.db", "copy.db.pepper"}
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in names)


def test_nothing_is_replaced(selling: Ledger, database: str, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with (
        open_database(database) as engine,
        pytest.raises(LedgerError, match="exists, and is not replaced"),
    ):
        back_up(engine, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"
    with open_database(database) as engine:
        back_up(engine, tmp_path / "other.db")
        with pytest.raises(LedgerError, match=r"ledger\.db.*exists, and is not replaced"):
            restore(tmp_path / "other.db", engine)


def test_books_with_a_fault_are_not_copied_and_not_restored(
    selling: Ledger, database: str, key: ApiKey, tmp_path: Path
) -> None:
    sell(selling, key, 0)
    with open_database(database) as engine:
        back_up(engine, tmp_path / "copy.db")
    for path in (tmp_path / "copy.db", tmp_path / "vendor" / "ledger.db"):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE accounts SET spent_units = 0")
    with open_database(database) as engine, pytest.raises(LedgerError, match="faults, the first"):
        back_up(engine, tmp_path / "second.db")
    fresh = open_engine(f"sqlite:///{tmp_path}/fresh/ledger.db")
    with pytest.raises(LedgerError, match="faults, the first"):
        restore(tmp_path / "copy.db", fresh)
    assert not list(tmp_path.glob("second*"))
    assert not (tmp_path / "fresh" / "ledger.db").exists()


def test_for_postgresql_it_names_the_tools_of_postgresql(postgres_dsn: str, tmp_path: Path) -> None:
    with open_database(postgres_dsn) as engine, pytest.raises(LedgerError, match="pg_dump"):
        back_up(engine, tmp_path / "copy.db")


def test_the_commands_say_what_was_copied_and_what_is_not_in_it(
    selling: Ledger, database: str, key: ApiKey, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sell(selling, key, 0)
    copy, new = str(tmp_path / "copy.db"), f"sqlite:///{tmp_path}/new/ledger.db"
    assert main(["ledger", "backup", copy, "--database", database]) == 0
    assert "1 keys, 2 entries, 1 queries charged, no faults" in capsys.readouterr().out
    assert main(["ledger", "restore", copy, "--database", new]) == 0
    printed = capsys.readouterr()
    assert "new/ledger.db: 1 keys, 2 entries" in printed.out
    assert "what was sold after the last entry is not in this ledger" in printed.err
    assert main(["ledger", "verify", "--database", new]) == 0
