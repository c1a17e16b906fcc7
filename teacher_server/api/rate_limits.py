"""Enforces a key's rate and concurrency limits, and reports them in response headers."""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.requests import Request

from teacher_server.api.admin_schemas import LARGEST
from teacher_server.api.dependencies import Services
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.ledger.account import Account
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
class LimitHeaders:
    """The limits of one key, to be reported in the headers of one answer."""

    account: Account
    key_limits: KeyLimits
    rate_limiter: RateLimiter
    unspent_units: int

    def headers(self) -> dict[str, str]:
        """The x-ratelimit-* headers of OpenAI, and the two fields of the IETF's draft.

        draft-ietf-httpapi-ratelimit-headers-11: `q` quota, `w` window in seconds, `qu` unit, `r`
        remaining, `t` seconds until more is available. Its registry has no unit for queries; naming
        one keeps readers from taking the budget for requests, which is the default unit.
        """
        state = self.rate_limiter.state(self.account.id, self.key_limits)
        per_minute, concurrent = self.key_limits.requests_per_minute, self.key_limits.max_concurrent
        budget = _capped(self.account.allowance_units)
        window, window_ends = _window_parameters(self.account)
        return {
            "x-ratelimit-limit-requests": str(per_minute),
            "x-ratelimit-remaining-requests": str(state.requests_left),
            "x-ratelimit-reset-requests": duration(state.full_ns),
            "RateLimit-Policy": (
                f'"requests";q={_capped(per_minute)};w=60, '
                f'"concurrent";q={_capped(concurrent)};qu="concurrent-requests", '
                f'"budget";q={budget};qu="queries"{window}'
            ),
            "RateLimit": (
                f'"requests";r={_capped(state.requests_left)};t={whole_seconds(state.next_ns)}, '
                f'"concurrent";r={_capped(state.concurrent_left)}, '
                f'"budget";r={_capped(self.unspent_units)}{window_ends}'
            ),
        }


def whole_seconds(nanoseconds: int) -> int:
    """Nanoseconds as whole seconds, rounded up, so that waiting them is long enough."""
    return -(-nanoseconds // _SECOND_NS)


def duration(nanoseconds: int) -> str:
    """Nanoseconds in the format of x-ratelimit-reset-*: `20ms`, `1s`, `6m0s`; rounded up."""
    if nanoseconds < _SECOND_NS:
        milliseconds = -(-nanoseconds // _MILLISECOND_NS)
        return f"{milliseconds}ms" if milliseconds < 1000 else "1s"
    minutes, seconds = divmod(whole_seconds(nanoseconds), 60)
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


def _capped(count: int) -> int:
    return min(count, LARGEST)


def _window_parameters(account: Account) -> tuple[str, str]:
    if account.budget_period == "none":
        return "", ""
    start = datetime.fromtimestamp(account.period_start_ms // 1000, UTC)
    days = 1 if account.budget_period == "day" else calendar.monthrange(start.year, start.month)[1]
    left = (start + timedelta(days=days) - datetime.now(UTC)).total_seconds()
    return f";w={days * 86400}", f";t={max(0, math.ceil(left))}"


def key_limits(account: Account, settings: VendorSettings) -> KeyLimits:
    """The key's own limits, or the vendor's defaults where it has none."""
    return KeyLimits(
        account.requests_per_minute or settings.requests_per_minute,
        account.max_concurrent or settings.max_concurrent,
    )


@contextmanager
def admitted(request: Request, services: Services, account: Account) -> Iterator[None]:
    """Count the request against the account's limits until the block ends; raises a Problem."""
    limits = key_limits(account, services.settings)
    request.scope["state"]["limits"] = LimitHeaders(
        account, limits, services.rate_limiter, account.budget_units - account.spent_units
    )
    try:
        with services.rate_limiter.admit(account.id, limits):
            yield
    except ConcurrencyExceeded as error:
        raise Problem(Code.TOO_MANY_CONCURRENT, str(error)) from error
    except RateExceeded as error:
        wait = whole_seconds(error.wait_ns)
        raise Problem(Code.RATE_LIMITED, str(error), retry_after=wait) from error
