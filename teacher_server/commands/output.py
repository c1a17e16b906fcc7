"""What an admin command prints, and how it formats times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from teacher_server.ledger.account import LAST_MS

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """Text for stdout, a note for stderr, and the exit code."""

    text: str
    note: str = ""
    code: int = 0


def format_day(unix_ms: int | None) -> str:
    """A time in Unix milliseconds as its UTC date; `never` for None."""
    return _format(unix_ms, "%Y-%m-%d")


def format_minute(unix_ms: int | None) -> str:
    """A time in Unix milliseconds as UTC date and minute; `never` for None."""
    return _format(unix_ms, "%Y-%m-%d %H:%M")


def _format(unix_ms: int | None, pattern: str) -> str:
    if unix_ms is None:
        return "never"
    if unix_ms > LAST_MS:  # version 0.1 did not limit a key's expiry
        return "after 9999"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime(pattern)
