"""A finding: what was looked at, what was found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from teacher_server.errors import VendorError

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about a subject. An error stops sales; a warning may stop some of them.

    `fix` says what to do, and is empty only for a level of "ok".
    """

    level: Level
    subject: str
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """The finding for people: a line, and another for its fix."""
        line = f"{self.level:<8} {self.subject}: {self.detail}"
        return f"{line}\n         fix: {self.fix}" if self.fix else line


def ok(subject: str, detail: str) -> Finding:
    """A finding without a fault."""
    return Finding(level="ok", subject=subject, detail=detail)


def warning(subject: str, detail: str, fix: str) -> Finding:
    """A finding with which the vendor sells, for now or in part."""
    return Finding(level="warning", subject=subject, detail=detail, fix=fix)


def fault(subject: str, detail: str, fix: str) -> Finding:
    """A finding with which the vendor does not sell."""
    return Finding(level="error", subject=subject, detail=detail, fix=fix)


def checked(subject: str, check: Callable[[], Iterator[Finding]], *, fix: str) -> Iterator[Finding]:
    """The findings of a check; an error that it raises is the last of them, with this fix."""
    try:
        yield from check()
    except (VendorError, SQLAlchemyError, OSError) as error:
        # SQLAlchemy's own text goes on with the statement and a link.
        reason = str(getattr(error, "orig", None) or error)
        yield fault(subject, reason.strip().partition("\n")[0], fix)
