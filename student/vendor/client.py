"""HTTP client for the vendor API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from cache.audit.network import certificates, proxy_for, require_socks_package
from cache.errors import UnusableVariable
from cache.records.receipt import account_name, base_url
from student.errors import BadInput, VendorError, VendorMisbehaved
from student.vendor.request import Batch, ExpectedAnswer, Item, items_that_fit
from student.vendor.response import Answer, read_answer
from student.vendor.schemas import Account, Limits, Model, ModelList, Prices, TokenCounts
from student.vendor.transport import OnRetry, Reply, Timing, Transport

_Parsed = TypeVar("_Parsed", bound=BaseModel)


class VendorClient:
    """The vendor's API for one key; a purchase keeps its Idempotency-Key through all retries.

    Every method raises VendorError or a subclass, which says whether anything was charged. `http`
    has the base URL and the timeouts; `proxy` is its proxy in words, if it has one.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        key: SecretStr,
        timing: Timing | None = None,
        *,
        proxy: str = "",
    ) -> None:
        self.proxy = proxy
        self._transport = Transport(http, key, timing or Timing())

    def __repr__(self) -> str:
        return f"VendorClient({self.url!r})"

    @property
    def knows_purchases(self) -> bool:
        """Always: the vendor can be asked for a purchase, and knows it by its key."""
        return True

    async def turn(self) -> None:
        """Return at once: the vendor says by itself when it is asked too often."""

    def fit(self, items: Sequence[Item], limits: Limits) -> int:
        """How many of these items one request may carry; at least 1."""
        return items_that_fit(items, limits.max_body_bytes)

    @property
    def url(self) -> str:
        """The vendor's base URL, without a trailing slash."""
        return self._transport.url

    def ledger_name(self, account: Account) -> str:
        """The name under which this account's receipts are kept in the cache."""
        return account_name(self.url, account.id)

    async def models(self) -> tuple[Model, ...]:
        """The models on sale. Raises VendorMisbehaved for a fingerprint that contradicts the
        model's own facts."""
        reply = await self._transport.request("GET", "/v1/models")
        models = _parse(ModelList, reply).data
        for model in models:
            if not model.fits_its_facts:
                detail = f"Model {model.id!r} has a fingerprint that does not fit its facts."
                raise VendorMisbehaved(detail, charged=False, status=200, code="misbehaved")
        return models

    async def prices(self) -> Prices:
        """The price list in force."""
        return _parse(Prices, await self._transport.request("GET", "/v1/prices"))

    async def account(self) -> Account:
        """What the key may still spend."""
        return _parse(Account, await self._transport.request("GET", "/v1/key"))

    async def token_counts(self, model: Model, texts: Sequence[str]) -> list[int] | None:
        """The tokens of each text, free of charge; None if the vendor is too old to count them.

        Raises VendorError for a text that the vendor would not sell for another reason.
        """
        counts: list[int] = []
        for start in range(0, len(texts), model.limits.max_items):
            part = [{"text": text} for text in texts[start : start + model.limits.max_items]]
            body = json.dumps({"model": model.id, "input": part}).encode("ascii")
            headers = {"Content-Type": "application/json"}
            try:
                reply = await self._transport.request("POST", "/v1/tokens", body, headers)
            except VendorError as error:
                if error.status == 404 and error.code != "unknown_model":
                    return None
                raise
            counted = _parse(TokenCounts, reply).tokens
            if len(counted) != len(part):
                detail = f"The vendor counted {len(counted)} texts where {len(part)} were sent."
                raise VendorMisbehaved(detail, charged=False, status=200, code="misbehaved")
            counts.extend(counted)
        return counts

    @property
    def patience_seconds(self) -> float:
        """How long a vendor that is not ready is asked again before the run ends."""
        return self._transport.patience_seconds

    async def ready(self) -> bool:
        """Whether the vendor says that it can serve now; asked once, without a retry."""
        return await self._transport.is_ready()

    async def embed(
        self, batch: Batch, idempotency_key: str, *, on_retry: OnRetry | None = None
    ) -> Answer:
        """Buy the embeddings of a batch: charged once, however often the connection fails.

        Raises BudgetExhausted for 402, VendorUnreachable when the limits on attempts or time are
        reached, VendorMisbehaved for an answer that fails a check, VendorError otherwise.
        """
        headers = {"Idempotency-Key": idempotency_key, "Content-Type": "application/json"}
        reply = await self._transport.request(
            "POST", "/v1/embeddings", batch.body(), headers, on_retry=on_retry
        )
        return _answer(reply, batch.expected(idempotency_key))

    async def recover(self, expected: ExpectedAnswer) -> Answer | None:
        """The stored answer of a purchase; None if the vendor says that it knows no such purchase.

        Nothing is charged. Raises AnswerPurged where the vendor has deleted the answer.
        """
        path = f"/v1/requests/{quote(expected.idempotency_key, safe='')}"
        try:
            reply = await self._transport.request("GET", path)
        except VendorError as error:
            # Another 404 (a proxy's, an old vendor's) proves nothing about money.
            if error.status == 404 and error.code == "unknown_request":
                return None
            raise
        return _answer(reply, expected)


def _answer(reply: Reply, expected: ExpectedAnswer) -> Answer:
    replayed = reply.headers.get("Idempotent-Replayed", "").lower() == "true"
    return read_answer(reply.content, expected, replayed=replayed)


def _parse(shape: type[_Parsed], reply: Reply) -> _Parsed:
    try:
        return shape.model_validate_json(reply.content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        detail = f"The vendor's {shape.__name__} cannot be read: {where}: {first['msg']}."
        raise VendorMisbehaved(
            detail, charged=False, status=reply.status, code="misbehaved"
        ) from None


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
    timing: Timing | None = None,
) -> AsyncIterator[VendorClient]:
    """A client of the vendor at this URL, closed when the block ends; sends nothing by itself.

    Raises as `http_client` does.
    """
    require_plain_url(url)
    async with http_client(base_url(url), key, connections=connections) as (http, proxy):
        yield VendorClient(http, key, timing, proxy=proxy)


def require_plain_url(url: str) -> None:
    """Raises BadInput when the URL is not plain http(s) or carries a name or password."""
    try:
        parts = httpx.URL(url)
        is_plain = parts.scheme in {"http", "https"} and bool(parts.host) and not parts.userinfo
        # Receipts are filed under the address as urlsplit reads it; it refuses unpaired brackets.
        urlsplit(url)
    except (httpx.InvalidURL, ValueError):  # ValueError also for IDNA errors of `host`
        is_plain = False
    if not is_plain:
        # The URL itself is not repeated: it may contain a password.
        detail = "the vendor's URL must look like http://host:8000, without a name or password"
        raise BadInput(detail)


@asynccontextmanager
async def http_client(
    url: str, key: SecretStr, *, connections: int, reuses_connections: bool = True
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """An HTTP client with this base URL, and its proxy in words; closed when the block ends.

    Raises BadInput when the key is empty or not printable ASCII, and for a proxy or certificate
    variable that cannot be used.
    """
    secret = key.get_secret_value()
    if not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        detail = "the vendor's key is empty or has characters that no key has"
        raise BadInput(detail)
    try:
        require_socks_package()
        proxy, trusted = proxy_for(url), certificates()
    except UnusableVariable as error:
        raise BadInput(str(error)) from error
    kept = connections if reuses_connections else 0
    async with httpx.AsyncClient(
        base_url=url,
        trust_env=False,  # what the environment says is read above, once for client and audit
        proxy=None if proxy is None else proxy.url,
        verify=trusted or True,
        headers={"User-Agent": _user_agent()},
        timeout=httpx.Timeout(connect=10.0, read=90.0, write=60.0, pool=120.0),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=kept),
        follow_redirects=False,
    ) as http:
        yield http, "" if proxy is None else str(proxy)
