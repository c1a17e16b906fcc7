"""The database of a shared budget: a SQLite file on this machine, or PostgreSQL for several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from cache.storage.folder import file_system_of, is_network
from student.errors import BadInput, SharedBudgetError
from student.options.section import user_path

FORMAT: Final = 1
_PATIENCE_S: Final = 20
_WRITES: Final = "shared_budget_writes"

_metadata = MetaData()
BUDGET = Table(
    "shared_budget",
    _metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True),
    Column("format", Integer, nullable=False),
    Column("total_units", BigInteger, nullable=False),
    Column("leased_units", BigInteger, nullable=False),
    Column("lease_size", BigInteger, CheckConstraint("lease_size > 0"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("0 <= leased_units AND leased_units <= total_units", name="within_budget"),
)
LEASES = Table(
    "shared_budget_lease",
    _metadata,
    Column("run", String(200), primary_key=True),
    Column("place", String(4000), nullable=False),
    Column("units", BigInteger, CheckConstraint("units >= 0"), nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("closed_ms", BigInteger),
)


class Database:
    """One database of a shared budget, with its transactions."""

    def __init__(self, location: str) -> None:
        """`location` is the path of a SQLite file, or a URL of PostgreSQL without a password.

        Raises BadInput where it cannot be used.
        """
        self.url = _url(location)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        # A prepared statement belongs to a session, which a pooler such as PgBouncer may change.
        arguments: dict[str, Any] = (
            {"timeout": _PATIENCE_S}
            if self._is_sqlite
            else {"connect_timeout": _PATIENCE_S, "prepare_threshold": None}
        )
        try:
            # No pool: a run leases seldom, and between two leases it holds no connection.
            self._engine = create_engine(
                self.url, hide_parameters=True, poolclass=NullPool, connect_args=arguments
            )
        except ImportError as error:
            message = (
                f"a shared budget in {self.url.drivername} needs its driver: pip install "
                "'rented-teacher[postgres]'"
            )
            raise BadInput(message) from error
        if self._is_sqlite:
            _take_the_write_lock_first(self._engine)

    @property
    def name(self) -> str:
        """The file, or the URL, as it is shown."""
        return str(self.url.database) if self._is_sqlite else self.url.render_as_string()

    def create_tables(self, connection: Connection) -> None:
        """Make the tables. Raises BadInput if there is a shared budget already."""
        if self._engine.dialect.has_table(connection, BUDGET.name):
            message = f"{self.name} has a shared budget already; nothing was changed"
            raise BadInput(message)
        _metadata.create_all(connection)

    def require_tables(self) -> None:
        """Raises BadInput unless the database has a shared budget."""
        missing = f"there is no shared budget in {self.name}: make one with `distill-client"
        missing += " shared-budget create`"
        if self._is_sqlite and not Path(str(self.url.database)).is_file():
            raise BadInput(missing)
        with self.reading() as connection:
            if not self._engine.dialect.has_table(connection, BUDGET.name):
                raise BadInput(missing)

    def reading(self) -> AbstractContextManager[Connection]:
        """A consistent read of the database. Raises SharedBudgetError."""
        return self._transaction(writes=False)

    def writing(self) -> AbstractContextManager[Connection]:
        """One transaction, on disk at the end; nothing is changed where it raises.

        Raises SharedBudgetError. Where the connection breaks at the very end, the change may
        have been made.
        """
        return self._transaction(writes=True)

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        options: dict[str, Any] = {_WRITES: writes}
        if not self._is_sqlite and not writes:
            options["isolation_level"] = "REPEATABLE READ"
        try:
            with (
                self._engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                yield connection
        except SQLAlchemyError as error:
            # The first line: what follows may have the statement and a link.
            reason = str(error).partition("\n")[0]
            message = f"the shared budget in {self.name} cannot be used: {reason}"
            raise SharedBudgetError(message) from error


def _url(location: str) -> URL:
    if "://" not in location:
        return URL.create("sqlite", database=str(_local_file(location)))
    try:
        url = make_url(location)
    except (ArgumentError, ValueError) as error:
        message = (
            "--shared-budget is neither a path nor a URL: use FILE or postgresql://USER@HOST/DB"
        )
        raise BadInput(message) from error
    if url.password is not None:
        message = (
            "--shared-budget has a password in its URL, which other users of this machine can read:"
            " put it into ~/.pgpass or PGPASSWORD"
        )
        raise BadInput(message)
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(database=str(_local_file(str(url.database))))
    message = f"--shared-budget cannot be {url.drivername}: use FILE or postgresql://USER@HOST/DB"
    raise BadInput(message)


def _local_file(path: str) -> Path:
    try:
        file = user_path(path).absolute()
    except ValueError as error:
        message = f"--shared-budget: {error}"
        raise BadInput(message) from error
    kind = file_system_of(file.parent)
    if is_network(kind):
        message = (
            f"--shared-budget {file} is on a network file system ({kind}), where SQLite's locks do "
            "not work: for several machines, use PostgreSQL"
        )
        raise BadInput(message)
    return file


def _take_the_write_lock_first(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:
        # The driver's own BEGIN is deferred, and a read that turns into a write may fail as busy.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
