"""A finding: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from cache.errors import CacheError
from student.errors import StudentError

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about a subject. An error stops a run; a warning may spoil it.

    `fix` says what to do, and is empty only for a level of "ok".
    """

    level: Level
    subject: str
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


def ok(subject: str, detail: str) -> Finding:
    """A finding without a fault."""
    return Finding(level="ok", subject=subject, detail=detail)


def warning(subject: str, detail: str, fix: str) -> Finding:
    """A finding that a run survives."""
    return Finding(level="warning", subject=subject, detail=detail, fix=fix)


def checked(subject: str, check: Callable[[], Iterator[Finding]], *, fix: str) -> Iterator[Finding]:
    """The findings of a check; an error that it raises is the last of them, with this fix."""
    try:
        yield from check()
    except (StudentError, CacheError, OSError) as error:
        detail = str(error).strip().partition("\n")[0]
        yield Finding(level="error", subject=subject, detail=detail, fix=fix)
