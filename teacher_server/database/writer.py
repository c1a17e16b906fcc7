"""Commits the writes of many concurrent requests together.

A synced commit takes as long as the disk needs, 4 ms on many, whatever it holds. With SQLite, one
thread writes: what arrives while it commits is the next group, and is committed in one transaction.
With PostgreSQL, which syncs the commits of several connections together by itself, each work has
a transaction of its own in a pool of threads.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from teacher_server.database.engine import write_transaction
from teacher_server.errors import LedgerError

T = TypeVar("T")
MAX_GROUP = 64


class SyncNeeded(Exception):
    """Raised by a work in an unsynced transaction that turns out to write what must be durable.

    It is run again, alone and synced.
    """


class Writer(Protocol):
    """Runs works in write transactions; the outcome of each is a future."""

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        is_synced: bool = True,
        on_conflict: Callable[[], T | None] = lambda: None,
    ) -> Future[T]:
        """Run `work` in a transaction; its future has the result once that is committed.

        `work` may run several times, but at most one of them is committed, and no other work is
        affected if it raises. With `is_synced`, the commit is on the disk before the future is
        done; without, the loss of power may undo it, though never anything committed later that
        is synced. After an IntegrityError, `on_conflict` gives the result instead, unless None.
        """
        ...


@contextmanager
def open_writer(engine: Engine) -> Iterator[Writer]:
    """The writer of a running server; on exit, it finishes what was submitted."""
    if engine.dialect.name == "sqlite":
        writer = _GroupWriter(engine)
        try:
            yield writer
        finally:
            writer.close()
    else:
        with ThreadPoolExecutor(
            min(32, (os.cpu_count() or 1) + 4), thread_name_prefix="ledger"
        ) as pool:
            yield _PooledWriter(engine, pool)


@dataclass(frozen=True, slots=True)
class _Submitted:
    work: Callable[[Connection], Any]
    is_synced: bool
    on_conflict: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)


class _PooledWriter:
    """Each work in a transaction of its own, several at a time."""

    def __init__(self, engine: Engine, pool: ThreadPoolExecutor) -> None:
        self._engine = engine
        self._pool = pool

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        is_synced: bool = True,
        on_conflict: Callable[[], T | None] = lambda: None,
    ) -> Future[T]:
        submitted = _Submitted(work, is_synced, on_conflict)
        self._pool.submit(_run_alone, self._engine, submitted)
        return submitted.future


class _GroupWriter:
    """All works in one thread, in the order in which they were submitted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: deque[_Submitted] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        is_synced: bool = True,
        on_conflict: Callable[[], T | None] = lambda: None,
    ) -> Future[T]:
        submitted = _Submitted(work, is_synced, on_conflict)
        with self._changed:
            if self._is_closed:
                message = "the ledger is closed"
                raise LedgerError(message)
            self._waiting.append(submitted)
            self._changed.notify()
        return submitted.future

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            if not self._commit_together(group):
                for submitted in group:
                    _run_alone(self._engine, submitted)

    def _next_group(self) -> list[_Submitted]:
        with self._changed:
            while not self._waiting and not self._is_closed:
                self._changed.wait()
            size = min(len(self._waiting), MAX_GROUP)
            return [self._waiting.popleft() for _ in range(size)]

    def _commit_together(self, group: list[_Submitted]) -> bool:
        """Commit all works of the group or none; returns whether they were committed."""
        is_synced = any(submitted.is_synced for submitted in group)
        if is_synced and len(group) == 1:
            return False  # alone, its error is its own
        try:
            with write_transaction(self._engine, is_synced=is_synced) as connection:
                results = [submitted.work(connection) for submitted in group]
        # Whatever failed: SQLite may have rolled back the whole transaction, and a commit that
        # reports an error has committed nothing. Each work then gets an outcome of its own.
        except BaseException:
            return False
        for submitted, result in zip(group, results, strict=True):
            submitted.future.set_result(result)
        return True


def _run_alone(engine: Engine, submitted: _Submitted) -> None:
    try:
        try:
            with write_transaction(engine) as connection:
                result = submitted.work(connection)
        except IntegrityError:
            result = submitted.on_conflict()
            if result is None:
                raise
    # Even SystemExit: no failure of a work may end the thread that all others need.
    except BaseException as error:
        submitted.future.set_exception(error)
    else:
        submitted.future.set_result(result)
