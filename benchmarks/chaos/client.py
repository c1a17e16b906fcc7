"""The product's own purchase, in a process that tells of every request and may end itself.

Every request is written down before it leaves and after it came back; the points where the process
can die are made by standing around the transport and the cache.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx
from pydantic import SecretStr

from benchmarks.chaos.fork_server import Spec
from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Item
from cache.errors import CacheError
from cache.paid_cache import Intent, PaidCache, PaidEmbedding
from cache.records.receipt import Receipt
from student.errors import StudentError
from student.purchase.buyer import buy
from student.purchase.plan import make_plan
from student.vendor.client import VendorClient
from student.vendor.retry import RetryPolicy

POINTS = ("before-send", "after-send", "before-store", "after-store")
GAVE_UP = 75  # the client ended with an error of its own tree; the supervisor runs it again
PATIENCE = RetryPolicy(
    attempts=12,
    total_seconds=40.0,
    request_seconds=6.0,
    first_delay=0.1,
    longest_delay=2.0,
    longest_retry_after=2.0,
)
RECOVERY = "/v1/requests/"


def run_client(spec: Spec) -> int:
    """Buy what the spec wants into its cache; 0 when the purchase came to its end."""
    with History(Path(spec["history"])) as history:
        history.write("start", run=spec["run"])
        try:
            asyncio.run(_shop(spec, history))
        except (StudentError, CacheError) as error:
            history.write(
                "end",
                error=type(error).__name__,
                detail=str(error),
                status=getattr(error, "status", None),
                code=getattr(error, "code", None),
            )
            return GAVE_UP
    return 0


async def _shop(spec: Spec, history: History) -> None:
    fuse = KillSwitch(history, **spec.get("fuse", {}))
    wire = Recorder(httpx.AsyncHTTPTransport(), history, fuse)
    async with httpx.AsyncClient(transport=wire, base_url=spec["url"], timeout=5.0) as http:
        vendor = VendorClient(
            http, SecretStr(spec["key"]), retries=PATIENCE, random=Random(spec["run"])
        )
        (model,) = await vendor.models()
        account = vendor.ledger_name(await vendor.account())
        prices = await vendor.prices()
        wanted = [Item(number).wanted(model.fingerprint) for number in spec["wares"]]
        with FusedCache.open(Path(spec["cache"])) as cache:
            cache.fuse = fuse
            plan = make_plan(wanted, cache=cache, model=model, prices=prices, budget=spec["budget"])
            bought = await buy(
                plan,
                cache=cache,
                vendor=vendor,
                budget=spec["budget"],
                run=spec["run"],
                account=account,
                batch_size=spec["batch_size"],
                concurrency=spec["concurrency"],
            )
    history.write("end", ending=bought.ending, kept=bought.kept, left_out=bought.left_out)


class FusedCache(PaidCache):
    """A cache whose process may die just before an answer is stored, or just after."""

    fuse: KillSwitch

    def commit(
        self,
        intent: Intent,
        embeddings: Sequence[PaidEmbedding],
        receipt: Receipt,
        *,
        account: str,
    ) -> None:
        self.fuse.reach("before-store")
        super().commit(intent, embeddings, receipt, account=account)
        self.fuse.reach("after-store")


class Recorder(httpx.AsyncBaseTransport):
    """A transport that writes purchases and recoveries down, and may die around a send."""

    def __init__(self, wire: httpx.AsyncBaseTransport, history: History, fuse: KillSwitch) -> None:
        self._wire = wire
        self._history = history
        self._fuse = fuse
        self._number = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        facts = _facts(request)
        if not facts:
            return await self._wire.handle_async_request(request)
        self._number += 1
        op = self._number
        self._history.write("invoke", op=op, **facts)
        self._fuse.reach("before-send")
        content = await request.aread()
        outgoing = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_Sent(content, self._fuse),
            extensions=request.extensions,
        )
        try:
            response = await self._wire.handle_async_request(outgoing)
        except BaseException as error:
            self._history.write("info", op=op, cause=type(error).__name__)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        heard = _Heard(response.stream, self._history, op, response)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=heard,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._wire.aclose()


class _Sent(httpx.AsyncByteStream):
    """A request's body; the process may die once it has been handed to the kernel."""

    def __init__(self, content: bytes, fuse: KillSwitch) -> None:
        self._content = content
        self._fuse = fuse

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content:
            yield self._content
            self._fuse.reach("after-send")


class _Heard(httpx.AsyncByteStream):
    """An answer's body; how it ended is written down before the client can act on it."""

    def __init__(
        self, stream: httpx.AsyncByteStream, history: History, op: int, response: httpx.Response
    ) -> None:
        self._stream = stream
        self._history = history
        self._op = op
        self._response = response
        self._is_told = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: list[bytes] = []
        try:
            async for part in self._stream:
                parts.append(part)
                yield part
        except BaseException as error:
            self._tell("info", cause=type(error).__name__)
            raise
        self._tell(**_outcome(self._response, b"".join(parts)))

    async def aclose(self) -> None:
        self._tell("info", cause="closed early")
        await self._stream.aclose()

    def _tell(self, kind: str, **facts: object) -> None:
        if not self._is_told:
            self._is_told = True
            self._history.write(kind, op=self._op, **facts)


def _facts(request: httpx.Request) -> dict[str, Any]:
    """What a request asks for; {} when it is about no purchase."""
    if request.method == "POST":
        items = [
            hashlib.sha256(
                base64.b64decode(one["image"]) if "image" in one else one["text"].encode()
            ).hexdigest()
            for one in json.loads(request.content)["input"]
        ]
        return {"what": "buy", "key": request.headers["Idempotency-Key"], "items": items}
    if request.url.path.startswith(RECOVERY):
        return {"what": "recover", "key": request.url.path.removeprefix(RECOVERY)}
    return {}


def _outcome(response: httpx.Response, content: bytes) -> dict[str, Any]:
    status = response.status_code
    told = json.loads(content) if content else {}
    if status == 200:
        return {
            "kind": "ok",
            "sha256": hashlib.sha256(content).hexdigest(),
            "receipt": told["receipt"],
            "replayed": response.headers.get("Idempotent-Replayed") == "true",
        }
    return {
        "kind": "fail",
        "status": status,
        "code": told.get("code"),
        "charged_units": told.get("charged_units"),
        "needed": told.get("needed"),
        "remaining": told.get("remaining"),
    }
