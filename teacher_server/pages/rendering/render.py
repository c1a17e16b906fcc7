"""Renders the pages' templates, with headers that let a page run nothing but the vendor's files."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from teacher_server.ledger.account import LAST_MS
from teacher_server.pages.rendering.assets import asset_url

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer`, a browser would send forms without their origin, which is checked.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}


def render(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """The page that a template makes of the context."""
    content = _environment().get_template(template).render(context)
    # A name may hold half of a surrogate pair, which cannot be encoded.
    return HTMLResponse(content.encode("utf-8", "backslashreplace"), status, headers=_HEADERS)


def dollars(micro_usd: int) -> str:
    """An amount in micro-USD as dollars, without rounding: at least two decimals, `$1,234.50`."""
    whole, rest = divmod(abs(micro_usd), 1_000_000)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro_usd < 0 else ''}${whole:,}.{cents}"


def count(number: int) -> str:
    """A number with commas between thousands."""
    return f"{number:,}"


def utc(unix_ms: int | None) -> str:
    """A time in Unix milliseconds as UTC date and second; `never` for None."""
    if unix_ms is None:
        return "never"
    if unix_ms > LAST_MS:  # version 0.1 did not limit a key's expiry
        return "after 9999"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"dollars": dollars, "count": count, "utc": utc}
    environment.globals["asset_url"] = asset_url
    return environment
