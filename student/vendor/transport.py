"""Sends HTTP requests to the vendor and repeats them while that can help."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NoReturn, Protocol

import httpx
from pydantic import SecretStr

from student.errors import VendorError, VendorMisbehaved, VendorUnreachable
from student.vendor.circuit_breaker import BreakerPolicy, CircuitBreaker
from student.vendor.problem import OUTAGES, read_problem
from student.vendor.retry import Retry, RetryPolicy, is_retried, retry_after_seconds

# Far above any valid answer (max_items x dim), far below what would exhaust memory.
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_log = logging.getLogger(__name__)
OnRetry = Callable[[Retry], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole HTTP response."""

    status: int
    headers: httpx.Headers
    content: bytes


@dataclass(slots=True, kw_only=True)
class _Attempts:
    """One request through all its attempts; `is_doubtful` once an attempt may have been charged
    without the client learning of it."""

    started: float
    count: int = 0
    is_doubtful: bool = False

    @property
    def charged(self) -> bool | None:
        return None if self.is_doubtful else False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A failed attempt: the error to raise, and whether and when another attempt may help."""

    error: VendorError
    status: int
    may_retry: bool
    retry_after: float | None = None
    timed_out: bool = False


class ReadProblem(Protocol):
    """Reads a reply of another status than 200 as an error that says what was charged."""

    def __call__(
        self, reply: Reply, *, is_doubtful: bool, printable: Callable[[str], str]
    ) -> VendorError: ...


def _native_problem(
    reply: Reply, *, is_doubtful: bool, printable: Callable[[str], str]
) -> VendorError:
    return read_problem(reply.status, reply.content, is_doubtful=is_doubtful, printable=printable)


def _native_retry(reply: Reply, error: VendorError) -> bool:
    return is_retried(reply.status, error.code)


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What differs between kinds of vendors: how they refuse, and what may be sent again.

    With `repeats_in_doubt`, a request that may have been charged is sent again, because the vendor
    knows it by its idempotency key. `readiness_path` is asked while the vendor is down; with
    `any_answer_is_ready` every answer but 5xx says that it is up.
    """

    authorise: Callable[[str], dict[str, str]] = _bearer
    read_problem: ReadProblem = _native_problem
    may_retry: Callable[[Reply, VendorError], bool] = _native_retry
    repeats_in_doubt: bool = True
    readiness_path: str = "/readyz"
    any_answer_is_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When requests are repeated and when an outage ends.

    Tests replace `sleep`, `clock` (seconds) and `random` (for jitter, not for secrets), so that
    they need no time.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    random: Random = field(default_factory=Random)


class Transport:
    """The vendor's HTTP side for one key: authorisation, retries, circuit breaker, size limit.

    `http` has the base URL and the timeouts.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        key: SecretStr,
        timing: Timing,
        conventions: Conventions | None = None,
    ) -> None:
        self._http = http
        self._key = key
        self._conventions = conventions or Conventions()
        self._policy = timing.retry
        self._sleep = timing.sleep
        self._clock = timing.clock
        self._random = timing.random
        self._breaker = CircuitBreaker(
            timing.breaker,
            probe=self.is_ready,
            sleep=timing.sleep,
            clock=timing.clock,
            random=timing.random,
        )

    @property
    def url(self) -> str:
        """The vendor's base URL, without a trailing slash."""
        return str(self._http.base_url).rstrip("/")

    @property
    def patience_seconds(self) -> float:
        """How long an outage of the vendor is waited for before the run ends."""
        return self._breaker.time_limit

    async def is_ready(self) -> bool:
        """Whether the vendor says that it can serve now; asked once, without a retry."""
        conventions = self._conventions
        try:
            reply = await self._send("GET", conventions.readiness_path, b"", {})
        except (httpx.TransportError, TimeoutError):
            return False
        self._breaker.record_contact()
        return reply.status == 200 or (conventions.any_answer_is_ready and reply.status < 500)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        on_retry: OnRetry | None = None,
    ) -> Reply:
        """Send a request, and repeat it while that can help; returns a reply of status 200.

        Raises VendorError, which says whether the request may have been charged.
        """
        attempts = _Attempts(started=self._clock())
        while True:
            if not await self._breaker.wait_until_closed():
                detail = f"The vendor at {self.url} {self._breaker.description}."
                raise VendorUnreachable(detail, charged=attempts.charged)
            attempts.count += 1
            outcome = await self._attempt(method, path, body, headers or {}, attempts)
            if isinstance(outcome, Reply):
                return outcome
            if not outcome.may_retry:
                raise outcome.error
            delay = self._policy.delay(attempts.count, outcome.retry_after, self._random)
            spent = self._clock() - attempts.started
            is_last = attempts.count >= self._policy.attempts
            if is_last or spent + delay > self._policy.total_seconds:
                raise outcome.error
            _log.info(
                "attempt %d at %s: status %d, retry in %.1f s",
                attempts.count,
                path,
                outcome.status,
                delay,
            )
            if on_retry is not None:
                on_retry(
                    Retry(
                        attempt=attempts.count,
                        status=outcome.status,
                        delay=delay,
                        timed_out=outcome.timed_out,
                    )
                )
            await self._sleep(delay)

    async def _attempt(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        attempts: _Attempts,
    ) -> Reply | _Failure:
        try:
            reply = await self._send(method, path, body, headers)
        except (httpx.TransportError, TimeoutError) as error:
            return self._connection_failure(error, attempts)
        if reply.status < 500:
            self._breaker.record_success()
        if reply.status == 200:
            return reply
        problem = self._conventions.read_problem(
            reply, is_doubtful=attempts.is_doubtful, printable=self._printable
        )
        if reply.status >= 500:
            is_outage = problem.code in OUTAGES
            self._breaker.record_failure(
                f"HTTP {reply.status}" + (f": {problem.detail}" if is_outage else ""),
                answered=True,
                is_outage=is_outage,
            )
        attempts.is_doubtful = attempts.is_doubtful or problem.charged is not False
        return _Failure(
            error=problem,
            status=reply.status,
            may_retry=self._conventions.may_retry(reply, problem),
            retry_after=retry_after_seconds(reply.headers.get("Retry-After")),
        )

    def _connection_failure(self, error: Exception, attempts: _Attempts) -> _Failure:
        was_sent = not isinstance(error, _NEVER_SENT)
        attempts.is_doubtful = attempts.is_doubtful or was_sent
        cause = type(error).__name__
        self._breaker.record_failure(cause)
        detail = (
            f"The vendor could not be reached: {cause} at {self.url}, {attempts.count} attempts."
        )
        return _Failure(
            error=VendorUnreachable(detail, charged=attempts.charged),
            status=0,
            may_retry=not isinstance(error, httpx.UnsupportedProtocol)
            and (self._conventions.repeats_in_doubt or not was_sent),
            timed_out=isinstance(error, (TimeoutError, httpx.TimeoutException)),
        )

    async def _send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        authorised = {**headers, **self._conventions.authorise(self._key.get_secret_value())}
        async with (
            asyncio.timeout(self._policy.request_seconds),
            self._http.stream(method, path, content=body or None, headers=authorised) as response,
        ):
            parts: list[bytes] = []
            size = 0
            try:
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > MAX_RESPONSE_BYTES:
                        limit = MAX_RESPONSE_BYTES // 1024**2
                        _misbehaved(response.status_code, f"exceeds {limit} MiB")
                    parts.append(part)
            except httpx.DecodingError:
                _misbehaved(response.status_code, "has a broken content encoding")
            return Reply(
                status=response.status_code, headers=response.headers, content=b"".join(parts)
            )

    def _printable(self, text: str) -> str:
        """The vendor's words, fit for a terminal and a log: no key, no control characters."""
        secret = self._key.get_secret_value()
        plain = text.replace(secret, "[key]") if secret else text
        return "".join(c if c.isprintable() else " " for c in plain)[:500]


def _misbehaved(status: int, fact: str) -> NoReturn:
    detail = f"The vendor's response {fact}."
    raise VendorMisbehaved(detail, charged=None, status=status, code="misbehaved")
