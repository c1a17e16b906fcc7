"""A client over a wire, a cache and a foreign vendor in memory, without real waits."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
from pydantic import SecretStr

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item, text_item
from cache.records.receipt import Receipt
from student.data.views import png
from student.options import PurchaseOptions
from student.options.section import build
from student.purchase.canary import canary_units
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record
from student.vendor.schemas import Model
from student.vendor.transport import Timing
from student.wires.client import WireClient, wire_model
from student.wires.open import wire_of
from student.wires.own_prices import own_prices
from tests.support.foreign_vendor import KEY, ForeignVendor
from tests.support.purchase_setup import Clock

URL = "http://foreign.test"
CANARY = 2


def picture(number: int) -> bytes:
    """A small image, different for each number."""
    pixels = np.full((8, 8, 3), (number % 256, number // 256, 7), dtype=np.uint8)
    return png(pixels)


@dataclass
class WireSetup:
    """One cache and one foreign vendor; every `buy` is a new run of the client."""

    folder: Path
    vendor: ForeignVendor
    options: dict[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    _runs: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def purchase(self) -> PurchaseOptions:
        values = {"wire": "openai", "vendor": URL, "teacher": "clip", **self.options}
        return build(PurchaseOptions, values)

    @property
    def model(self) -> Model:
        options = self.purchase
        wire = wire_of(options)
        return wire_model(
            wire,
            options.teacher or "",
            dim=options.dimensions or 0,
            revision=options.model_revision,
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[WireClient]:
        options = self.purchase
        transport = httpx.MockTransport(self.vendor)
        timing = Timing(sleep=self.clock.sleep, clock=self.clock, random=Random(0))
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            yield WireClient(
                http,
                SecretStr(KEY),
                wire_of(options),
                model=self.model,  # type: ignore[arg-type]
                prices=own_prices(options),
                timing=timing,
                requests_per_minute=options.requests_per_minute,
            )

    def image(self, number: int) -> EmbeddingRequest:
        data = picture(number)
        key = EmbeddingKey(
            model_fingerprint=self.model.fingerprint, modality="image", item=image_item(data)
        )
        return EmbeddingRequest(
            key=key, payload=lambda: data, name=f"image {number}", made_pixels=64
        )

    def images(self, count: int) -> list[EmbeddingRequest]:
        return [self.image(number) for number in range(count)]

    def bad_image(self, number: int) -> EmbeddingRequest:
        data = picture(number) + b"bad"
        key = EmbeddingKey(
            model_fingerprint=self.model.fingerprint, modality="image", item=image_item(data)
        )
        return EmbeddingRequest(key=key, payload=lambda: data, name=f"bad image {number}")

    def text(self, text: str) -> EmbeddingRequest:
        key = EmbeddingKey(
            model_fingerprint=self.model.fingerprint, modality="text", item=text_item(text)
        )
        return EmbeddingRequest(key=key, payload=text, name=text)

    async def plan(self, wanted: Sequence[EmbeddingRequest], budget: int = 1000) -> Plan:
        async with self.client() as client:
            prices = await client.prices()
            with PaidCache.open(self.folder) as cache:
                return make_plan(
                    wanted,
                    cache=cache,
                    model=self.model,
                    prices=prices,
                    budget=budget,
                    canary_units=canary_units(client, prices),
                )

    async def buy(
        self, wanted: Sequence[EmbeddingRequest], *, budget: int = 1000, **more: Any
    ) -> PurchaseSummary:
        """Plan and buy, as one run of the client does, canary and all."""
        plan = await self.plan(wanted, budget)
        async with self.client() as client:
            payer = Payer(
                run=f"run-{next(self._runs)}",
                account=client.ledger_name(await client.account()),
                budget=budget,
                is_known_to_vendor=client.knows_purchases,
            )
            with PaidCache.open(self.folder) as cache:
                journal = PurchaseJournal(plan, cache=cache, payer=payer)
                options: dict[str, Any] = {"batch_size": 4, "concurrency": 2, **more}
                return await buy_and_record(
                    PurchaseRecorder(journal), client, command="test", **options
                )

    def paid(self, wanted: Sequence[EmbeddingRequest]) -> list[bool]:
        """Which of these are in the cache."""
        with PaidCache.open(self.folder) as cache:
            missing = set(cache.missing([request.key for request in wanted]))
            return [request.key not in missing for request in wanted]

    def receipts(self) -> list[Receipt]:
        with PaidCache.open(self.folder) as cache:
            return list(cache.receipts())

    def committed(self) -> int:
        """Queries that count as spent."""
        with PaidCache.open(self.folder) as cache:
            return cache.spend_on_record().committed_units
