"""Rate and concurrency of the key that asks, and what its answers say of its limits."""

from __future__ import annotations

import calendar
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from teacher_server.api.admin_schemas import LARGEST
from teacher_server.api.auth import Known
from teacher_server.api.dependencies import Serving
from teacher_server.api.problems import Code, Problem
from teacher_server.ledger.keys import Account
from teacher_server.limits.rate_limiter import (
    ConcurrencyExceeded,
    KeyLimits,
    RateExceeded,
    RateLimiter,
)
from teacher_server.settings import VendorSettings

_SECOND_NS = 10**9
_MILLISECOND_NS = 10**6


@dataclass(slots=True)
class Limits:
    """The limits of one key, as the headers of one answer tell them."""

    account: Account
    of_key: KeyLimits
    rates: RateLimiter
    unspent_units: int

    def headers(self) -> dict[str, str]:
        """x-ratelimit-* as OpenAI sends them, and the two fields of the IETF's draft.

        draft-ietf-httpapi-ratelimit-headers-11: `q` quota, `w` window in seconds, `qu` unit, `r`
        left, `t` seconds for which no more is left. Its unit registry has no word for what is sold
        here; `queries` keeps a reader from taking the budget for requests, the default.
        """
        standing = self.rates.standing(self.account.id, self.of_key)
        per_minute, concurrent = self.of_key.requests_per_minute, self.of_key.max_concurrent
        budget = _shown(self.account.allowance_units)
        window, window_ends = _window(self.account)
        return {
            "x-ratelimit-limit-requests": str(per_minute),
            "x-ratelimit-remaining-requests": str(standing.requests_left),
            "x-ratelimit-reset-requests": duration(standing.full_ns),
            "RateLimit-Policy": (
                f'"requests";q={_shown(per_minute)};w=60, '
                f'"concurrent";q={_shown(concurrent)};qu="concurrent-requests", '
                f'"budget";q={budget};qu="queries"{window}'
            ),
            "RateLimit": (
                f'"requests";r={_shown(standing.requests_left)};t={seconds_up(standing.next_ns)}, '
                f'"concurrent";r={_shown(standing.concurrent_left)}, '
                f'"budget";r={_shown(self.unspent_units)}{window_ends}'
            ),
        }


def seconds_up(nanoseconds: int) -> int:
    """Whole seconds, rounded up, so that whoever waits them has waited enough."""
    return -(-nanoseconds // _SECOND_NS)


def duration(nanoseconds: int) -> str:
    """As OpenAI's x-ratelimit-reset-*: `20ms`, `1s`, `6m0s`; rounded up."""
    if nanoseconds < _SECOND_NS:
        milliseconds = -(-nanoseconds // _MILLISECOND_NS)
        return f"{milliseconds}ms" if milliseconds < 1000 else "1s"
    minutes, seconds = divmod(seconds_up(nanoseconds), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _shown(count: int) -> int:
    return min(count, LARGEST)


def _window(account: Account) -> tuple[str, str]:
    if account.budget_period == "none":
        return "", ""
    start = datetime.fromtimestamp(account.period_start_ms // 1000, UTC)
    days = 1 if account.budget_period == "day" else calendar.monthrange(start.year, start.month)[1]
    left = (start + timedelta(days=days) - datetime.now(UTC)).total_seconds()
    return f";w={days * 86400}", f";t={max(0, math.ceil(left))}"


def key_limits(account: Account, settings: VendorSettings) -> KeyLimits:
    """The key's own limits, the vendor's where it has none."""
    return KeyLimits(
        account.requests_per_minute or settings.requests_per_minute,
        account.max_concurrent or settings.max_concurrent,
    )


async def _admitted(request: Request, services: Serving, account: Known) -> AsyncIterator[Account]:
    limits = key_limits(account, services.settings)
    request.scope["state"]["limits"] = Limits(
        account, limits, services.rates, account.budget_units - account.spent_units
    )
    try:
        with services.rates.admitted(account.id, limits):
            yield account
    except ConcurrencyExceeded as error:
        raise Problem(Code.TOO_MANY_CONCURRENT, str(error)) from error
    except RateExceeded as error:
        wait = seconds_up(error.wait_ns)
        raise Problem(Code.RATE_LIMITED, str(error), retry_after=wait) from error


Admitted = Annotated[Account, Depends(_admitted)]
