"""Many writes in one commit: each keeps its own outcome, and what must be durable is synced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text

from teacher_server.database.engine import is_synced, open_engine, write_transaction
from teacher_server.database.writer import SyncNeeded, Writer, open_writer
from teacher_server.errors import LedgerError

Work = Callable[[Connection], int]


@dataclass
class Watched:
    """A writer, and the `PRAGMA synchronous` level of each of its commits."""

    engine: Engine
    writer: Writer
    levels: list[int] = field(default_factory=list)

    def together(self, *works: tuple[Work, bool]) -> list[Future[int]]:
        """Submit these works, of which each may need to be synced, while another one runs."""
        has_started, go_on = threading.Event(), threading.Event()

        def hold(_connection: Connection) -> bool:
            has_started.set()
            return go_on.wait(30)

        running = self.writer.submit(hold)
        assert has_started.wait(30)
        futures = [self.writer.submit(work, is_synced=synced) for work, synced in works]
        go_on.set()
        assert running.result(30)
        for future in futures:
            future.exception(30)
        del self.levels[0]
        return futures

    @property
    def values(self) -> list[int]:
        with self.engine.connect() as connection:
            return list(connection.scalars(text("SELECT value FROM written ORDER BY value")))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    engine = open_engine(f"sqlite:///{tmp_path}/some.db")
    with write_transaction(engine) as connection:
        connection.execute(text("CREATE TABLE written (value INTEGER PRIMARY KEY)"))
    with open_writer(engine) as writer:
        made = Watched(engine, writer)

        def committing(connection: Connection) -> None:
            if connection.get_execution_options().get("ledger_writes"):
                level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
                made.levels.append(level)

        event.listen(engine, "commit", committing)
        yield made
    engine.dispose()


def write(value: int) -> Work:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO written VALUES (:value)"), {"value": value})
        return value

    return work


def fail(connection: Connection) -> int:
    write(99)(connection)
    message = "this work alone"
    raise ValueError(message)


FULL, NORMAL = 2, 1


def test_works_that_arrive_during_a_commit_are_committed_together(watched: Watched) -> None:
    futures = watched.together(*((write(value), True) for value in range(10)))
    assert [future.result() for future in futures] == list(range(10))
    assert watched.values == list(range(10))
    assert watched.levels == [FULL]


def test_a_work_that_fails_fails_alone_and_writes_nothing(watched: Watched) -> None:
    one, bad, two = watched.together((write(1), True), (fail, True), (write(2), True))
    assert (one.result(), two.result()) == (1, 2)
    with pytest.raises(ValueError, match="this work alone"):
        bad.result()
    assert watched.values == [1, 2]


def test_a_group_is_synced_if_any_of_its_works_must_be(watched: Watched) -> None:
    watched.together((write(1), False), (write(2), True), (write(3), False))
    assert watched.levels == [FULL]


def test_only_works_that_need_no_sync_are_committed_without_one(watched: Watched) -> None:
    watched.together((write(1), False), (write(2), False))
    assert watched.levels == [NORMAL]
    watched.writer.submit(write(3)).result(30)
    with write_transaction(watched.engine) as connection:
        write(4)(connection)
    assert watched.levels == [NORMAL, FULL, FULL]
    assert watched.values == [1, 2, 3, 4]


def test_a_work_that_turns_out_to_need_a_sync_is_run_again_with_one(watched: Watched) -> None:
    def work(connection: Connection) -> int:
        if not is_synced(connection):
            raise SyncNeeded
        return write(1)(connection)

    assert watched.writer.submit(work, is_synced=False).result(30) == 1
    assert watched.levels == [FULL]
    assert watched.values == [1]


def test_works_whose_common_commit_fails_are_each_committed_once(watched: Watched) -> None:
    commits = []

    def failing(connection: Connection) -> None:
        if connection.get_execution_options().get("ledger_writes"):
            commits.append(1)
            if len(commits) == 2:  # the first is of the work that both wait for
                message = "no commit"
                raise OSError(message)

    event.listen(watched.engine, "commit", failing)
    futures = watched.together((write(1), True), (write(2), True))
    assert [future.result() for future in futures] == [1, 2]
    assert watched.values == [1, 2]
    assert len(commits) == 4


def test_no_failure_ends_the_thread_that_writes(watched: Watched) -> None:
    def leave(_connection: Connection) -> int:
        raise SystemExit

    assert isinstance(watched.writer.submit(leave).exception(30), SystemExit)
    assert watched.writer.submit(write(1)).result(30) == 1


def test_closing_finishes_what_was_submitted_and_refuses_more(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/some.db")
    with write_transaction(engine) as connection:
        connection.execute(text("CREATE TABLE written (value INTEGER PRIMARY KEY)"))
    with open_writer(engine) as writer:
        futures = [writer.submit(write(value)) for value in range(5)]
    assert [future.result(0) for future in futures] == list(range(5))
    with pytest.raises(LedgerError, match="closed"):
        writer.submit(write(9))
    engine.dispose()
