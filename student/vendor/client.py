"""The road to the vendor, and the only module that imports httpx."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from random import Random
from typing import NoReturn, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from cache.records.receipt import account_name
from student.errors import (
    BadInput,
    VendorError,
    VendorMisbehaved,
    VendorUnreachable,
)
from student.vendor.circuit_breaker import BreakerPolicy, CircuitBreaker
from student.vendor.problem import read_problem
from student.vendor.request import Batch, Expected
from student.vendor.response import Answer, read_answer
from student.vendor.retry import Retry, RetryPolicy, is_retried, retry_after_seconds
from student.vendor.schemas import Account, Model, ModelList, Prices

# Far above any honest answer (max_items x dim), far below what would exhaust memory.
LARGEST_ANSWER = 256 * 1024 * 1024
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

_log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed", bound=BaseModel)
OnRetry = Callable[[Retry], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    headers: httpx.Headers
    content: bytes


class VendorClient:
    """The vendor's API for one key; every purchase carries an Idempotency-Key through all retries.

    `http` has the base URL and timeouts; `sleep`, `clock` (seconds) and `random` are passed in so
    that a test takes no time. Errors: VendorError and its children, each saying what was charged.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        key: SecretStr,
        *,
        retries: RetryPolicy | None = None,
        outages: BreakerPolicy | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        self._http = http
        self._key = key
        self._retries = retries or RetryPolicy()
        self._sleep = sleep
        self._clock = clock
        # For jitter, not for a secret.
        self._random = random or Random()
        self._breaker = CircuitBreaker(
            outages or BreakerPolicy(),
            probe=self.ready,
            sleep=sleep,
            clock=clock,
            random=self._random,
        )

    def __repr__(self) -> str:
        return f"VendorClient({self.url!r})"

    @property
    def url(self) -> str:
        """The vendor's base URL, without a trailing slash."""
        return str(self._http.base_url).rstrip("/")

    def ledger_name(self, account: Account) -> str:
        """The name under which this account's receipts are kept in the cache."""
        return account_name(self.url, account.id)

    async def models(self) -> tuple[Model, ...]:
        """The models on sale; a fingerprint that does not fit its own facts is VendorMisbehaved."""
        reply = await self._ask("GET", "/v1/models")
        models = self._parse(ModelList, reply).data
        for model in models:
            if model.fingerprint != model.computed_fingerprint():
                detail = f"Model {model.id!r} has a fingerprint that does not fit its facts."
                raise VendorMisbehaved(detail, charged=False, status=200, code="misbehaved")
        return models

    async def prices(self) -> Prices:
        """The price list in force."""
        return self._parse(Prices, await self._ask("GET", "/v1/prices"))

    async def account(self) -> Account:
        """What the key may still spend."""
        return self._parse(Account, await self._ask("GET", "/v1/key"))

    async def ready(self) -> bool:
        """Whether the vendor says that it can serve now; asked once."""
        try:
            reply = await self._once("GET", "/readyz", b"", {})
        except (httpx.TransportError, TimeoutError):
            return False
        return reply.status == 200

    async def embed(
        self, batch: Batch, idempotency_key: str, *, on_retry: OnRetry | None = None
    ) -> Answer:
        """Buy the embeddings of a batch: charged once, however often the wire fails.

        Raises BudgetExhausted for 402, VendorUnreachable when the caps on attempts or time are
        reached, VendorMisbehaved for an answer that does not hold, VendorError otherwise.
        """
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        body = batch.body()
        reply = await self._ask("POST", "/v1/embeddings", body, headers, on_retry=on_retry)
        return self._answer(reply, batch.expected(idempotency_key))

    async def recover(self, expected: Expected) -> Answer | None:
        """The stored answer of a purchase; None when the vendor says that it knows of none."""
        path = f"/v1/requests/{quote(expected.idempotency_key, safe='')}"
        try:
            reply = await self._ask("GET", path)
        except VendorError as error:
            # Another 404 (a proxy's, an old vendor's) proves nothing about money.
            if error.status == 404 and error.code == "unknown_request":
                return None
            raise
        return self._answer(reply, expected)

    def _answer(self, reply: _Reply, expected: Expected) -> Answer:
        replayed = reply.headers.get("Idempotent-Replayed", "").lower() == "true"
        return read_answer(reply.content, expected, replayed=replayed)

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        on_retry: OnRetry | None = None,
    ) -> _Reply:
        """One question, asked again while that can help; 200 or an error."""
        started = self._clock()
        # Whether an earlier attempt may have been charged without our hearing of it.
        doubtful = False
        attempt = 0
        while True:
            if not await self._breaker.passes():
                detail = f"The vendor at {self.url} {self._breaker.story}."
                raise VendorUnreachable(detail, charged=None if doubtful else False)
            attempt += 1
            wait: float | None = None
            timed_out = False
            try:
                reply = await self._once(method, path, body, headers or {})
            except (httpx.TransportError, TimeoutError) as error:
                doubtful = doubtful or not isinstance(error, _NEVER_SENT)
                status, cause = 0, type(error).__name__
                timed_out = isinstance(error, (TimeoutError, httpx.TimeoutException))
                self._breaker.failed(cause)
                failure: VendorError = VendorUnreachable(
                    f"The vendor could not be reached: {cause} at {self.url}, {attempt} attempts.",
                    charged=None if doubtful else False,
                )
                may_retry = not isinstance(error, httpx.UnsupportedProtocol)
            else:
                status = reply.status
                if status >= 500:
                    self._breaker.failed(f"HTTP {status}", answered=True)
                else:
                    self._breaker.succeeded()
                if status == 200:
                    return reply
                failure = read_problem(
                    status, reply.content, is_doubtful=doubtful, printable=self._printable
                )
                doubtful = doubtful or failure.charged is not False
                may_retry = is_retried(status, failure.code)
                wait = retry_after_seconds(reply.headers.get("Retry-After"))
            if not may_retry:
                raise failure
            delay = self._retries.delay(attempt, wait, self._random)
            spent = self._clock() - started
            if attempt >= self._retries.attempts or spent + delay > self._retries.total_seconds:
                raise failure
            _log.info("attempt %d at %s: status %d, again in %.1f s", attempt, path, status, delay)
            if on_retry is not None:
                on_retry(Retry(attempt=attempt, status=status, delay=delay, timed_out=timed_out))
            await self._sleep(delay)

    async def _once(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> _Reply:
        authorised = {**headers, "Authorization": f"Bearer {self._key.get_secret_value()}"}
        async with (
            asyncio.timeout(self._retries.request_seconds),
            self._http.stream(method, path, content=body or None, headers=authorised) as response,
        ):
            parts: list[bytes] = []
            size = 0
            try:
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > LARGEST_ANSWER:
                        self._misbehaved(response.status_code, "an answer without end")
                    parts.append(part)
            except httpx.DecodingError:
                self._misbehaved(response.status_code, "an answer whose encoding is broken")
            return _Reply(
                status=response.status_code, headers=response.headers, content=b"".join(parts)
            )

    def _misbehaved(self, status: int, fact: str) -> NoReturn:
        detail = f"The vendor sent {fact}."
        raise VendorMisbehaved(detail, charged=None, status=status, code="misbehaved")

    def _parse(self, shape: type[_Parsed], reply: _Reply) -> _Parsed:
        try:
            return shape.model_validate_json(reply.content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            detail = f"The vendor's {shape.__name__} cannot be read: {where}: {first['msg']}."
            raise VendorMisbehaved(
                detail, charged=False, status=reply.status, code="misbehaved"
            ) from None

    def _printable(self, text: str) -> str:
        """The vendor's words, fit for a terminal and a log: no key, no control characters."""
        secret = self._key.get_secret_value()
        plain = text.replace(secret, "[key]") if secret else text
        return "".join(c if c.isprintable() else " " for c in plain)[:500]


def _user_agent() -> str:
    try:
        own = version("rented-teacher")
    except PackageNotFoundError:
        own = "unpackaged"
    return f"distill-client/{own} python-httpx/{httpx.__version__}"


@asynccontextmanager
async def connect(
    url: str,
    key: SecretStr,
    *,
    connections: int = 16,
    retries: RetryPolicy | None = None,
    outages: BreakerPolicy | None = None,
) -> AsyncIterator[VendorClient]:
    """A client of the vendor at this URL, closed when the block ends; nothing is sent by itself.

    BadInput when the URL is not plain http(s), carries a name or password, or the key is empty.
    """
    try:
        parts = httpx.URL(url)
        is_plain = parts.scheme in {"http", "https"} and bool(parts.host) and not parts.userinfo
        # Receipts are filed under the address as this reads it; of brackets it wants a pair.
        urlsplit(url)
    except (httpx.InvalidURL, ValueError):  # of them the IDNA errors of `host`
        is_plain = False
    if not is_plain:
        # The URL itself is not repeated: a password could stand in it.
        detail = "the vendor's URL must look like http://host:8000, without a name or password"
        raise BadInput(detail)
    secret = key.get_secret_value()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        detail = "the vendor's key is empty or holds characters that no key has"
        raise BadInput(detail)
    async with httpx.AsyncClient(
        base_url=url,
        headers={"User-Agent": _user_agent()},
        timeout=httpx.Timeout(connect=10.0, read=90.0, write=60.0, pool=120.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=False,
    ) as http:
        yield VendorClient(http, key, retries=retries, outages=outages)
