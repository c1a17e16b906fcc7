"""What each key uses of its limits, counted in PostgreSQL over all servers on one database.

A token bucket for the rate, and a count of the concurrent requests. Each change is one statement
on the row of its key, so no two servers can admit a request on the same reading. The clock is the
database's, because those of the servers differ.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, delete, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from teacher_server.database.engine import read_transaction, write_transaction
from teacher_server.database.server_locks import server_is_dead
from teacher_server.database.tables import key_use, open_requests

_log = logging.getLogger("teacher_server")
# A bucket holds a minute's requests. One that would be full only after two minutes was written
# before the database's clock was set back, and starts anew.
_CLOCK_WAS_SET_BACK_NS = 2 * 60 * 10**9
_NOW = """coalesce(
    CAST(:now_ns AS bigint),
    CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS bigint) * 1000)"""
_FULL_AT = f"""(CASE WHEN used.full_at_ns > {_NOW} + {_CLOCK_WAS_SET_BACK_NS} THEN {_NOW}
    ELSE greatest(used.full_at_ns, {_NOW}) END)"""
_TAKE = text(f"""
WITH admitted AS (
    INSERT INTO key_use AS used (key_id, full_at_ns, concurrent)
    VALUES (:key_id, {_NOW} + :interval_ns, 1)
    ON CONFLICT (key_id) DO UPDATE
    SET full_at_ns = {_FULL_AT} + :interval_ns, concurrent = used.concurrent + 1
    WHERE used.concurrent < :max_concurrent
    AND {_FULL_AT} - {_NOW} + :interval_ns <= :window_ns
    RETURNING used.full_at_ns - {_NOW} AS missing_ns, used.concurrent
), opened AS (
    INSERT INTO open_requests (request_id, key_id, boot_id)
    SELECT :request_id, :key_id, :boot_id FROM admitted
)
SELECT missing_ns, concurrent FROM admitted
""")  # constants  # nosec B608
_LOOK = text(f"""
SELECT {_FULL_AT} - {_NOW} AS missing_ns, used.concurrent
FROM key_use AS used WHERE used.key_id = :key_id
""")  # constants  # nosec B608
_GIVE_BACK = text("""
WITH closed AS (DELETE FROM open_requests WHERE request_id = :request_id RETURNING key_id)
UPDATE key_use SET concurrent = key_use.concurrent - 1
FROM closed WHERE key_use.key_id = closed.key_id
""")


@dataclass(frozen=True, slots=True)
class Use:
    """What a key uses: nanoseconds until its bucket is full, and its concurrent requests."""

    missing_ns: int
    concurrent: int
    is_admitted: bool


def _database_clock() -> None:
    return None


class KeyUse:
    """The use of all keys of one PostgreSQL database, by all servers.

    `clock_ns` replaces the database's clock in tests, in Unix nanoseconds.
    """

    def __init__(
        self, engine: Engine, *, boot_id: str, clock_ns: Callable[[], int | None] = _database_clock
    ) -> None:
        self._engine = engine
        self._boot_id = boot_id
        self._clock_ns = clock_ns
        self._owed: set[str] = set()

    def take(
        self, key_id: str, request_id: str, *, interval_ns: int, window_ns: int, max_concurrent: int
    ) -> Use:
        """Take one request from the key's bucket and count it as concurrent, if there is room.

        The bucket gains one request every `interval_ns` and is empty when `window_ns` are missing.
        A request that is not admitted takes nothing. Each that is needs one `give_back`.
        """
        of_key = {"key_id": key_id, "now_ns": self._clock_ns()}
        # One statement is one transaction here, and one round trip.
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                taken = connection.execute(
                    _TAKE,
                    {
                        **of_key,
                        "request_id": request_id,
                        "boot_id": self._boot_id,
                        "interval_ns": interval_ns,
                        "window_ns": window_ns,
                        "max_concurrent": max_concurrent,
                    },
                ).one_or_none()
            except SQLAlchemyError:
                # The database may have admitted it before the connection broke.
                self._owed.add(request_id)
                raise
            if taken is not None:
                return Use(taken.missing_ns, taken.concurrent, is_admitted=True)
            # Another request may have finished since: it is refused all the same.
            found = connection.execute(_LOOK, of_key).one()
            return Use(found.missing_ns, found.concurrent, is_admitted=False)

    def give_back(self, request_id: str) -> None:
        """Count the request as concurrent no longer; doing so twice changes nothing.

        If the database does not answer, the next sweep does it.
        """
        try:
            self._give_back(request_id)
        except SQLAlchemyError:
            self._owed.add(request_id)
            _log.warning("request %s counts as concurrent until the next sweep", request_id)

    def sweep(self) -> None:
        """Give back what could not be given back before, and what dead servers hold."""
        for request_id in list(self._owed):
            self._give_back(request_id)
            self._owed.discard(request_id)
        boot = open_requests.c.boot_id
        with read_transaction(self._engine) as connection:
            others = connection.scalars(select(boot).where(boot != self._boot_id).distinct()).all()
        for boot_id in others:
            self._give_back_all_of(boot_id)

    def _give_back(self, request_id: str) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(_GIVE_BACK, {"request_id": request_id})

    def _give_back_all_of(self, boot_id: str) -> None:
        with write_transaction(self._engine) as connection:
            if not server_is_dead(connection, boot_id):
                return
            held = connection.scalars(
                delete(open_requests)
                .where(open_requests.c.boot_id == boot_id)
                .returning(open_requests.c.key_id)
            ).all()
            # In the order of their ids, so that the sweeps of two servers cannot deadlock.
            for key_id, count in sorted(Counter(held).items()):
                connection.execute(
                    update(key_use)
                    .where(key_use.c.key_id == key_id)
                    .values(concurrent=key_use.c.concurrent - count)
                )
