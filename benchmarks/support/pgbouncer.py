"""A temporary PgBouncer in transaction mode before a PostgreSQL server, from Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from benchmarks.support.postgresql import not_as_root, own_folder

# More clients than sessions: two transactions of one client often run in different sessions.
SESSIONS = 6
_PORT = 6432
_START_SECONDS = 60.0
_CONFIGURATION = """\
[databases]
* = host={server} user=postgres
[pgbouncer]
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 300
auth_type = any
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
"""


@contextmanager
def pooled(dsn: str, *, sessions: int = SESSIONS) -> Iterator[str]:
    """The DSN of the same database behind a PgBouncer, which runs until the block ends.

    At most `sessions` sessions serve all clients. Raises RuntimeError if PgBouncer is missing.
    """
    import psycopg

    # Debian installs it where the PATH of a user who is not root does not look.
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        message = "PgBouncer is missing: run docker/install-test-programs, then try again"
        raise RuntimeError(message)
    server, database = make_url(dsn).query["host"], make_url(dsn).database
    # A socket path has at most 107 bytes, and pytest's folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="pgb-", dir="/tmp"))
    (folder / "pgbouncer.ini").write_text(
        _CONFIGURATION.format(server=server, folder=folder, port=_PORT, sessions=sessions)
    )
    own_folder(folder)
    keeper = subprocess.Popen(
        ["/bin/sh", "-c", _KEEP, program, str(folder)],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must reach the tests only; the pooler stops after them
        **not_as_root(),
    )
    assert keeper.stdin is not None
    deadline = time.monotonic() + _START_SECONDS
    try:
        while True:
            try:
                psycopg.connect(
                    host=str(folder), port=_PORT, user="postgres", dbname=database
                ).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    message = f"PgBouncer did not start: {(folder / 'log').read_text()}"
                    raise RuntimeError(message) from error
                time.sleep(0.02)
            else:
                break
        yield f"postgresql+psycopg://postgres@/{database}?host={folder}&port={_PORT}"
    finally:
        keeper.stdin.close()
        keeper.wait()


# `cat` reads a pipe whose other end the tests hold. However the tests end, `cat` ends too, and the
# script then stops the pooler and deletes its files.
_KEEP = """
"$0" pgbouncer.ini >log 2>&1 </dev/null &
pooler=$!
cat >/dev/null
kill -TERM $pooler
wait $pooler
rm -rf "$1"
"""
