"""A client, a cache and a vendor for a test, without real waits."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from pydantic import SecretStr

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item, text_item
from student.purchase.buyer import buy
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary, silent
from student.purchase.recorder import PurchaseRecorder
from student.vendor.client import VendorClient
from student.vendor.retry import RetryPolicy
from student.vendor.schemas import Model, Prices
from student.vendor.transport import Timing
from tests.support.ledger_vendor import KEY, LedgerVendor

URL = "http://vendor.test:8000"
ACCOUNT = f"{URL}#testkey"
Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


@dataclass
class Clock:
    """A clock that only `sleep` advances; it records each sleep, in seconds, and yields."""

    now: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def now_ms(self) -> int:
        return int(self.now * 1000)


@asynccontextmanager
async def client_of(
    handler: Any,
    clock: Clock | None = None,
    retry_policy: RetryPolicy | None = None,
    key: str = KEY,
) -> AsyncIterator[VendorClient]:
    """The real client, whose requests the handler answers."""
    clock = clock or Clock()
    transport = httpx.MockTransport(handler)
    async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
        timing = Timing(
            retry=retry_policy or RetryPolicy(),
            sleep=clock.sleep,
            clock=clock,
            random=Random(0),
        )
        yield VendorClient(http, SecretStr(key), timing)


@dataclass
class PurchaseSetup:
    """One cache and one vendor; every `buy` is a new run of the client."""

    folder: Path
    vendor: LedgerVendor
    clock: Clock = field(default_factory=Clock)
    handler: Any = None
    _runs: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def model(self) -> Model:
        return Model.model_validate(self.vendor.model)

    @property
    def prices(self) -> Prices:
        return Prices.model_validate(self.vendor.price)

    def image(self, name: str) -> EmbeddingRequest:
        """An image whose file content is its name."""
        data = name.encode()
        key = EmbeddingKey(
            model_fingerprint=self.model.fingerprint, modality="image", item=image_item(data)
        )
        return EmbeddingRequest(key=key, payload=lambda: data, name=name)

    def images(self, count: int, stem: str = "image") -> list[EmbeddingRequest]:
        return [self.image(f"{stem} {number}") for number in range(count)]

    def text(self, text: str) -> EmbeddingRequest:
        key = EmbeddingKey(
            model_fingerprint=self.model.fingerprint, modality="text", item=text_item(text)
        )
        return EmbeddingRequest(key=key, payload=text, name=text)

    def plan(self, wanted: Sequence[EmbeddingRequest], budget: int = 1000) -> Plan:
        with PaidCache.open(self.folder) as cache:
            return make_plan(
                wanted, cache=cache, model=self.model, prices=self.prices, budget=budget
            )

    async def buy(
        self,
        wanted: Sequence[EmbeddingRequest],
        *,
        budget: int = 1000,
        plan: Plan | None = None,
        retry_policy: RetryPolicy | None = None,
        **more: Any,
    ) -> PurchaseSummary:
        """Plan and buy, as one run of the client does."""
        payer = Payer(
            run=more.pop("run", None) or f"run-{next(self._runs)}",
            account=more.pop("account", ACCOUNT),
            budget=budget,
        )
        now_ms = more.pop("now_ms", self.clock.now_ms)
        listener = more.pop("progress", silent)
        options: dict[str, Any] = {
            "batch_size": 4,
            "concurrency": 2,
            "sleep": self.clock.sleep,
            **more,
        }
        plan = plan or self.plan(wanted, budget)
        handler = self.handler or self.vendor
        with PaidCache.open(self.folder) as cache:
            async with client_of(handler, self.clock, retry_policy) as client:
                journal = PurchaseJournal(plan, cache=cache, payer=payer, now_ms=now_ms)
                recorder = PurchaseRecorder(journal, listener=listener)
                return await buy(recorder, client, **options)

    def journal(self, cache: PaidCache, run: str) -> PurchaseJournal:
        """The journal of a run that plans four images."""
        return PurchaseJournal(
            self.plan(self.images(4)),
            cache=cache,
            payer=Payer(run=run, account=ACCOUNT, budget=1000),
            now_ms=self.clock.now_ms,
        )

    def assert_cache_matches_ledger(self) -> None:
        """Assert that the cache's receipts equal the vendor's charges, entry by entry."""
        with PaidCache.open(self.folder) as cache:
            stored = sorted(cache.receipts(), key=lambda receipt: receipt.seq)
            assert stored == self.vendor.receipts()
            assert cache.spend_on_record().open_units == 0
            assert not list(cache.rows_bought_again())

    def paid(self, wanted: Sequence[EmbeddingRequest]) -> list[bool]:
        """Which of these are in the cache."""
        with PaidCache.open(self.folder) as cache:
            missing = set(cache.missing([request.key for request in wanted]))
            return [request.key not in missing for request in wanted]
