"""Statements of every sale: their text is made once, and SQLite's driver runs it.

SQLAlchemy takes three times as long to run a short statement as SQLite does, and no other thread
runs Python meanwhile. PostgreSQL's statements are run by SQLAlchemy, which notices a lost
connection.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Engine, Insert, Select, Update
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import MultipleResultsFound

from teacher_server.database.engine import by_driver, read_transaction

Parameters = Mapping[str, Any]
# A row with its columns as attributes, which depend on the statement.
Record = Any


class Prepared:
    """A statement whose parameters and results are integers, strings and bytes.

    SQLite stores these as they are given. `columns` are those that an INSERT gives values to. The
    methods raise what SQLAlchemy raises, and KeyError for a parameter that is missing.
    """

    def __init__(
        self, statement: Select[Any] | Insert | Update, *, columns: Sequence[str] | None = None
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._record: Any = None

    def change(self, connection: Connection, parameters: Parameters) -> int:
        """Run it in the transaction of `connection`; for an UPDATE, how many rows it changed.

        The UPDATE has no RETURNING.
        """
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, dict(parameters)).rowcount
        cursor = connection.connection.cursor()
        try:
            self._run(cursor, parameters)
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def row(self, connection: Connection, parameters: Parameters) -> Record | None:
        """Run it in the transaction of `connection`; its row, or None if it has none."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, dict(parameters)).one_or_none()
        return self._only_row(connection.connection.cursor(), parameters)

    def row_now(self, engine: Engine, parameters: Parameters) -> Record | None:
        """`row`, in a read transaction of its own."""
        if engine.dialect.name != "sqlite":
            with read_transaction(engine) as connection:
                return self.row(connection, parameters)
        pooled = by_driver(engine.raw_connection)
        try:
            # Without BEGIN, each statement is a transaction.
            return self._only_row(pooled.cursor(), parameters)
        finally:
            pooled.close()

    def _only_row(self, cursor: DBAPICursor, parameters: Parameters) -> Record | None:
        try:
            self._run(cursor, parameters)
            # To the end: a statement that has not ended keeps its transaction open.
            rows = by_driver(cursor.fetchall)
            if self._record is None:
                names = [column[0] for column in cursor.description]
                self._record = namedtuple("Record", names)  # type: ignore[misc]
        finally:
            cursor.close()
        if len(rows) > 1:
            message = "one row was expected, and there are several"
            raise MultipleResultsFound(message)
        return self._record._make(rows[0]) if rows else None

    def _run(self, cursor: DBAPICursor, parameters: Parameters) -> None:
        text, names, constants = self._compiled
        values = [constants[name] if name in constants else parameters[name] for name in names]
        by_driver(cursor.execute, text, values)

    @cached_property
    def _compiled(self) -> tuple[str, Sequence[str], Mapping[str, Any]]:
        """SQLite's text, the name of each `?` in it, and the values that the statement has."""
        compiled = self._statement.compile(
            dialect=pysqlite.dialect(),
            column_keys=None if self._columns is None else list(self._columns),
        )
        names = compiled.positiontup or ()
        constants = {
            name: value
            for name, value in compiled.params.items()
            if not compiled.binds[name].required
        }
        return str(compiled), names, constants
