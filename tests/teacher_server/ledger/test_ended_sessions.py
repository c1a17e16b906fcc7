"""Ended sessions are known to every server of a ledger, and forgotten once they are too old."""

from __future__ import annotations

from sqlalchemy import select

from teacher_server.database.engine import read_transaction
from teacher_server.database.tables import ended_sessions
from teacher_server.ledger.ended_sessions import EndedSessions
from tests.support.ledger_operations import OneKeyLedger


def _rows(one_key: OneKeyLedger) -> list[tuple[str, int]]:
    with read_transaction(one_key.engine) as connection:
        return [(row[0], row[1]) for row in connection.execute(select(ended_sessions))]


def test_a_session_that_one_server_ended_is_ended_for_another(one_key: OneKeyLedger) -> None:
    here, there = (EndedSessions(one_key.engine, clock=lambda: 1000) for _ in range(2))
    assert not there.has("token")
    here.end("token", seconds=60)
    here.end("token", seconds=60)
    assert there.has("token")
    assert not there.has("other")
    ((stored, until_ms),) = _rows(one_key)
    assert "token" not in stored
    assert until_ms == 61_000


def test_rows_are_deleted_once_the_cookie_is_too_old_anyway(one_key: OneKeyLedger) -> None:
    now = 0
    ended = EndedSessions(one_key.engine, clock=lambda: now)
    ended.end("first", seconds=60)
    now = 30_000
    ended.end("second", seconds=60)
    now = 60_001
    ended.end("third", seconds=60)
    assert [until_ms for _, until_ms in sorted(_rows(one_key), key=lambda row: row[1])] == [
        90_000,
        120_001,
    ]
