"""The product's own purchase, in a process that logs every request and may kill itself.

Each request is logged before it is sent and after it is answered. The points where the process can
be killed wrap the HTTP transport and the cache; the product's code is unchanged.
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

from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Item, Spec
from cache.errors import CacheError
from cache.paid_cache import Intent, PaidCache, PaidEmbedding
from cache.records.receipt import Receipt
from student.errors import StudentError
from student.purchase.buyer import buy
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import make_plan
from student.purchase.recorder import PurchaseRecorder
from student.vendor.client import VendorClient
from student.vendor.retry import RetryPolicy
from student.vendor.transport import Timing

POINTS = ("before-send", "after-send", "before-store", "after-store")
GAVE_UP = 75  # exit code for an error of the product; the supervisor starts the client again
RETRIES = RetryPolicy(
    attempts=12,
    total_seconds=40.0,
    request_seconds=6.0,
    first_delay=0.1,
    longest_delay=2.0,
    longest_retry_after=2.0,
)
RECOVERY = "/v1/requests/"


def run_client(spec: Spec) -> int:
    """Buy the spec's items into its cache. Returns 0, or GAVE_UP on an error of the product."""
    with History(Path(spec["history"])) as history:
        history.write("start", run=spec["run"])
        try:
            asyncio.run(_buy(spec, history))
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


async def _buy(spec: Spec, history: History) -> None:
    kill_switch = KillSwitch(history, **spec.get("kill_switch", {}))
    transport = RecordingTransport(
        httpx.AsyncHTTPTransport(),
        history,
        kill_switch,
        is_behind_proxy=spec.get("is_behind_proxy", False),
    )
    async with httpx.AsyncClient(transport=transport, base_url=spec["url"], timeout=5.0) as http:
        timing = Timing(retry=RETRIES, random=Random(spec["run"]))
        vendor = VendorClient(http, SecretStr(spec["key"]), timing)
        (model,) = await vendor.models()
        account = vendor.ledger_name(await vendor.account())
        prices = await vendor.prices()
        requests = [Item(number).request(model.fingerprint) for number in spec["items"]]
        with KillableCache.open(Path(spec["cache"])) as cache:
            cache.kill_switch = kill_switch
            plan = make_plan(
                requests, cache=cache, model=model, prices=prices, budget=spec["budget"]
            )
            payer = Payer(run=spec["run"], account=account, budget=spec["budget"])
            journal = PurchaseJournal(plan, cache=cache, payer=payer)
            bought = await buy(
                PurchaseRecorder(journal),
                vendor,
                batch_size=spec["batch_size"],
                concurrency=spec["concurrency"],
            )
    history.write(
        "end", ending=bought.stop_reason, kept=bought.open_purchases, left_out=bought.left_out
    )


class KillableCache(PaidCache):
    """A cache whose process may be killed just before or just after it stores an answer."""

    kill_switch: KillSwitch

    def commit(
        self,
        intent: Intent,
        embeddings: Sequence[PaidEmbedding],
        receipt: Receipt,
        *,
        account: str,
    ) -> None:
        self.kill_switch.reach("before-store")
        super().commit(intent, embeddings, receipt, account=account)
        self.kill_switch.reach("after-store")


class RecordingTransport(httpx.AsyncBaseTransport):
    """A transport that logs purchases and recoveries, and may be killed around a send."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        history: History,
        kill_switch: KillSwitch,
        *,
        is_behind_proxy: bool = False,
    ) -> None:
        self._inner = inner
        self._is_behind_proxy = is_behind_proxy
        self._history = history
        self._kill_switch = kill_switch
        self._number = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        purchase = _purchase_of(request)
        if not purchase:
            return await self._inner.handle_async_request(request)
        self._number += 1
        op = self._number
        self._history.write("invoke", op=op, **purchase)
        self._kill_switch.reach("before-send")
        content = await request.aread()
        outgoing = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_SentBody(content, self._kill_switch),
            extensions=request.extensions,
        )
        try:
            response = await self._inner.handle_async_request(outgoing)
        except BaseException as error:
            self._history.write("info", op=op, cause=type(error).__name__)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        body = _RecordedBody(
            response.stream, self._history, op, response, is_behind_proxy=self._is_behind_proxy
        )
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=body,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _SentBody(httpx.AsyncByteStream):
    """A request body; the process may be killed once the kernel has the bytes."""

    def __init__(self, content: bytes, kill_switch: KillSwitch) -> None:
        self._content = content
        self._kill_switch = kill_switch

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._content:
            yield self._content
            self._kill_switch.reach("after-send")


class _RecordedBody(httpx.AsyncByteStream):
    """An answer's body; its outcome is logged before the client can act on it."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        history: History,
        op: int,
        response: httpx.Response,
        *,
        is_behind_proxy: bool,
    ) -> None:
        self._stream = stream
        self._history = history
        self._op = op
        self._response = response
        self._is_behind_proxy = is_behind_proxy
        self._is_logged = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: list[bytes] = []
        try:
            async for part in self._stream:
                parts.append(part)
                yield part
        except BaseException as error:
            self._log("info", cause=type(error).__name__)
            raise
        if self._is_behind_proxy and _is_of_proxy(self._response):
            # What it says for a vendor that has died: only the ledger knows the outcome.
            self._log("info", cause=f"{self._response.status_code} of the proxy")
        else:
            self._log(**_outcome(self._response, b"".join(parts)))

    async def aclose(self) -> None:
        self._log("info", cause="closed early")
        await self._stream.aclose()

    def _log(self, kind: str, **facts: object) -> None:
        if not self._is_logged:
            self._is_logged = True
            self._history.write(kind, op=self._op, **facts)


def _purchase_of(request: httpx.Request) -> dict[str, Any]:
    """The purchase that a request makes or recovers; {} for any other request."""
    if request.method == "POST":
        items = [
            hashlib.sha256(
                base64.b64decode(item["image"]) if "image" in item else item["text"].encode()
            ).hexdigest()
            for item in json.loads(request.content)["input"]
        ]
        return {"what": "buy", "key": request.headers["Idempotency-Key"], "items": items}
    if request.url.path.startswith(RECOVERY):
        return {"what": "recover", "key": request.url.path.removeprefix(RECOVERY)}
    return {}


def _is_of_proxy(response: httpx.Response) -> bool:
    """Whether an error is not the vendor's, which sends each of its errors as a problem."""
    is_problem = response.headers.get("Content-Type", "").startswith("application/problem+json")
    return response.status_code >= 500 and not is_problem


def _outcome(response: httpx.Response, content: bytes) -> dict[str, Any]:
    status = response.status_code
    document = json.loads(content) if content else {}
    if status == 200:
        return {
            "kind": "ok",
            "sha256": hashlib.sha256(content).hexdigest(),
            "receipt": document["receipt"],
            "replayed": response.headers.get("Idempotent-Replayed") == "true",
        }
    return {
        "kind": "fail",
        "status": status,
        "code": document.get("code"),
        "charged_units": document.get("charged_units"),
        "needed": document.get("needed"),
        "remaining": document.get("remaining"),
    }
