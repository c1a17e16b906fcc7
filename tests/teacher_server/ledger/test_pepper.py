"""The pepper: created once, kept private, never replaced silently."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from teacher_server.errors import LedgerError
from teacher_server.ledger.api_key import ApiKey
from teacher_server.ledger.keys import Keys
from teacher_server.ledger.ledger import open_database, open_ledger
from teacher_server.ledger.pepper import load_pepper
from tests.support.racing import at_once


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with open_database(f"sqlite:///{tmp_path}/ledger.db") as engine:
        yield engine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file with SQLite's pepper."""
    return tmp_path / "ledger.db.pepper"


def make_a_key(engine: Engine) -> ApiKey:
    key = ApiKey.new()
    keys = Keys(engine, clock=lambda: 1, pepper=load_pepper(engine, None))
    keys.create(key, name="n", budget=1, price_version="p")
    return key


def test_sqlite_gets_a_pepper_of_32_random_bytes_that_only_its_owner_reads(
    engine: Engine, file: Path
) -> None:
    pepper = load_pepper(engine, None)
    assert len(pepper) == 32
    assert file.read_text() == pepper.hex() + "\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_pepper(engine, None) == pepper
    assert {path.name for path in file.parent.iterdir() if "pepper" in path.name} == {file.name}


def test_servers_starting_at_once_agree_on_one_pepper(engine: Engine) -> None:
    assert len(set(at_once([lambda: load_pepper(engine, None)] * 8))) == 1


def test_a_given_pepper_wins_and_no_file_is_made(engine: Engine, file: Path) -> None:
    assert load_pepper(engine, "x" * 32) == b"x" * 32
    assert not file.exists()


def test_a_short_pepper_is_refused_without_being_shown(engine: Engine) -> None:
    with pytest.raises(LedgerError, match="32 characters") as caught:
        load_pepper(engine, "hunter22" * 3)
    assert "hunter22" not in str(caught.value)


def test_a_lost_pepper_is_not_replaced_while_keys_depend_on_it(engine: Engine, file: Path) -> None:
    key = make_a_key(engine)
    kept = file.read_text()
    file.unlink()
    with pytest.raises(LedgerError, match="is missing: restore it"):
        load_pepper(engine, None)
    assert not file.exists()
    file.write_text(kept)
    assert Keys(engine, clock=lambda: 1, pepper=load_pepper(engine, None)).authenticate(key)


@pytest.mark.parametrize("content", ["", "not hexadecimal", "ab" * 31, "é" * 64])
def test_a_damaged_pepper_is_refused_without_being_shown(
    engine: Engine, file: Path, content: str
) -> None:
    file.write_text(content)
    with pytest.raises(LedgerError, match="pepper") as caught:
        load_pepper(engine, None)
    assert not content or content not in str(caught.value)


def test_postgresql_asks_for_a_pepper_that_all_its_servers_share(postgres_dsn: str) -> None:
    with (
        open_database(postgres_dsn) as engine,
        pytest.raises(LedgerError, match="set TEACHER_PEPPER"),
        open_ledger(engine, lease_seconds=60),
    ):
        raise AssertionError
