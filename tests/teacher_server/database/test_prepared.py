"""Prepared statements do what SQLAlchemy does with the same statement, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, MultipleResultsFound, OperationalError

from teacher_server.database.engine import (
    by_driver,
    open_engine,
    read_transaction,
    write_transaction,
)
from teacher_server.database.prepared import Prepared, Record
from teacher_server.database.tables import answers, ended_sessions, metadata
from teacher_server.database.write_faults import write_fault

_T = ended_sessions
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ADD = Prepared(insert(_T), columns=("token_sha256", "until_ms"))
FIND = Prepared(select(_T).where(_T.c.token_sha256 == bindparam("named")))
UNTIL = Prepared(select(_T).where(_T.c.until_ms >= bindparam("least")))
_EXTEND = (
    update(_T)
    .where(_T.c.until_ms < 100, _T.c.token_sha256 != bindparam("named"))
    .values(until_ms=_T.c.until_ms + bindparam("more"))
)
EXTEND, EXTENDED = Prepared(_EXTEND), Prepared(_EXTEND.returning(_T))


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    made = open_engine(dsn)
    with write_transaction(made) as connection:
        connection.execute(delete(_T))
    yield made
    made.dispose()


def found(row: Record | None) -> Record:
    """The row, which must be there."""
    assert row is not None
    return row


def add(engine: Engine, name: str, until: int) -> None:
    with write_transaction(engine) as connection:
        ADD.change(connection, {"token_sha256": name, "until_ms": until})


def test_a_row_is_added_changed_and_read(engine: Engine) -> None:
    add(engine, "one", 1)
    add(engine, "two", 2)
    with write_transaction(engine) as connection:
        changed = found(EXTENDED.row(connection, {"named": "two", "more": 10}))
        assert (changed.token_sha256, changed.until_ms) == ("one", 11)
        assert EXTEND.change(connection, {"named": "none", "more": 1000}) == 2
    row = found(FIND.row_now(engine, {"named": "one"}))
    assert row._asdict() == {"token_sha256": "one", "until_ms": 1011}
    assert FIND.row_now(engine, {"named": "three"}) is None
    with read_transaction(engine) as connection:
        ours, theirs = found(FIND.row(connection, {"named": "two"})), connection.execute(select(_T))
        assert tuple(ours) in [tuple(row) for row in theirs]


def test_what_is_written_is_undone_with_its_transaction(engine: Engine) -> None:
    def fail() -> None:
        with write_transaction(engine) as connection:
            ADD.change(connection, {"token_sha256": "one", "until_ms": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert FIND.row_now(engine, {"named": "one"}) is None


def test_several_rows_where_one_was_expected_are_an_error(engine: Engine) -> None:
    add(engine, "one", 1)
    add(engine, "two", 2)
    with pytest.raises(MultipleResultsFound):
        UNTIL.row_now(engine, {"least": 1})


def test_a_violated_constraint_is_sqlalchemys_error(engine: Engine) -> None:
    add(engine, "one", 1)
    with pytest.raises(IntegrityError):
        add(engine, "one", 2)
    assert found(FIND.row_now(engine, {"named": "one"})).until_ms == 1


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/some.db")
    metadata.create_all(made)
    yield made
    made.dispose()


def test_reading_leaves_no_transaction_open(sqlite: Engine) -> None:
    add(sqlite, "one", 1)
    add(sqlite, "two", 2)
    assert found(FIND.row_now(sqlite, {"named": "one"})).until_ms == 1
    with pytest.raises(MultipleResultsFound):
        UNTIL.row_now(sqlite, {"least": 0})
    # A reader that is still open would keep the journal as it is.
    pooled = sqlite.raw_connection()
    is_busy, *_ = pooled.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    pooled.close()
    assert is_busy == 0


def test_a_database_that_takes_no_writes_is_recognised(sqlite: Engine) -> None:
    with write_transaction(sqlite) as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(OperationalError) as refused:
            ADD.change(connection, {"token_sha256": "one", "until_ms": 1})
        connection.exec_driver_sql("PRAGMA query_only = OFF")
    assert write_fault(refused.value) == "the database is read-only"


def test_an_error_of_sqlite_hides_the_values_of_the_statement(sqlite: Engine) -> None:
    add(sqlite, "a secret", 1)
    with pytest.raises(IntegrityError) as refused:
        add(sqlite, "a secret", 2)
    assert "a secret" not in str(refused.value)


def test_a_missing_table_is_found_by_the_first_statement(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(OperationalError, match="no such table"):
        found(FIND.row_now(engine, {"named": "one"}))
    engine.dispose()


def test_errors_that_are_not_of_the_driver_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        by_driver(int, "one")


def test_every_text_and_integer_is_read_as_it_was_written(sqlite: Engine) -> None:
    @settings(deadline=None, max_examples=50)
    @given(name=_TEXTS, until=st.integers(-(2**63), 2**63 - 1))
    def is_read_as_written(name: str, until: int) -> None:
        with write_transaction(sqlite) as connection:
            ADD.change(connection, {"token_sha256": name, "until_ms": until})
            row = found(FIND.row(connection, {"named": name}))
            assert tuple(row) == tuple(connection.execute(select(_T)).one()) == (name, until)
            connection.execute(delete(_T))

    is_read_as_written()


def test_an_answer_is_read_as_the_bytes_that_were_written(sqlite: Engine) -> None:
    body = bytes(range(256)) * 400
    row = {"request_id": "one", "charged_ms": 1, "body": body}
    with write_transaction(sqlite) as connection:
        Prepared(insert(answers), columns=tuple(row)).change(connection, row)
    assert found(Prepared(select(answers)).row_now(sqlite, {})).body == body
