"""Enforces a key's rate and concurrency limits, and reports them in response headers."""

from __future__ import annotations

import calendar
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from starlette.requests import Request

from teacher_server.api.admin_schemas import LARGEST
from teacher_server.api.cancellation import run_uncancelled
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
from teacher_server.limits.shared_rate_limiter import SharedRateLimiter
from teacher_server.settings import VendorSettings

_SECOND_NS = 10**9
_MILLISECOND_NS = 10**6


@dataclass(slots=True)
class LimitHeaders:
    """The limits of one key, to be reported in the headers of one answer.

    `_held` is what the request holds in the database of servers that share one.
    """

    account: Account
    key_limits: KeyLimits
    rate_limiter: RateLimiter | SharedRateLimiter
    unspent_units: int
    _held: tuple[SharedRateLimiter, str] | None = field(default=None, init=False)

    async def take(self, limiter: SharedRateLimiter, request_id: str) -> None:
        """Count the request in the database; raises ConcurrencyExceeded or RateExceeded."""
        self._held = limiter, request_id
        take = partial(limiter.take, self.account.id, request_id, self.key_limits)
        try:
            await run_uncancelled(take)
        except (ConcurrencyExceeded, RateExceeded):
            self._held = None
            raise

    async def give_back(self) -> None:
        """Count the request as concurrent no longer, if the database does.

        Before the answer is sent: the next request of a client that waits for its answer must not
        be refused because of this one.
        """
        if self._held is not None:
            limiter, request_id = self._held
            self._held = None
            await run_uncancelled(partial(limiter.give_back, request_id))

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


@asynccontextmanager
async def admitted(request: Request, services: Services, account: Account) -> AsyncIterator[None]:
    """Count the request against the account's limits until the block ends; raises a Problem."""
    limits, limiter = key_limits(account, services.settings), services.rate_limiter
    headers = LimitHeaders(account, limits, limiter, account.budget_units - account.spent_units)
    request.scope["state"]["limits"] = headers
    try:
        if isinstance(limiter, RateLimiter):
            with limiter.admit(account.id, limits):
                yield
            return
        try:
            await headers.take(limiter, request.scope["state"]["request_id"])
            yield
        finally:
            await headers.give_back()
    except ConcurrencyExceeded as error:
        raise Problem(Code.TOO_MANY_CONCURRENT, str(error)) from error
    except RateExceeded as error:
        wait = whole_seconds(error.wait_ns)
        raise Problem(Code.RATE_LIMITED, str(error), retry_after=wait) from error
