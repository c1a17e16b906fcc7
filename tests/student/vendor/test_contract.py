"""The real client against the real vendor."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from benchmarks.support.vendor_in_process import HashEncoder, Vendor, picture, vendor_at
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey, image_item, text_item
from cache.records.receipt import Receipt, chain_breaks
from student.errors import VendorError
from student.purchase.buyer import buy
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.vendor.client import VendorClient
from student.vendor.request import Batch


@dataclass
class ContractSetup:
    """The vendor's app, a client of it, and a cache."""

    vendor: Vendor
    client: VendorClient
    folder: Path

    async def plan(self, files: list[bytes], texts: list[str], budget: int) -> Plan:
        (model,) = await self.client.models()
        fingerprint = model.fingerprint
        wanted = [
            EmbeddingRequest(
                key=EmbeddingKey(
                    model_fingerprint=fingerprint, modality="text", item=text_item(text)
                ),
                payload=text,
            )
            for text in texts
        ]
        for data in files:
            key = EmbeddingKey(
                model_fingerprint=fingerprint, modality="image", item=image_item(data)
            )
            wanted.append(EmbeddingRequest(key=key, payload=lambda data=data: data))  # type: ignore[misc]
        with PaidCache.open(self.folder) as cache:
            prices = await self.client.prices()
            return make_plan(wanted, cache=cache, model=model, prices=prices, budget=budget)

    async def buy(self, plan: Plan, run: str = "run") -> PurchaseSummary:
        account = self.client.ledger_name(await self.client.account())
        with PaidCache.open(self.folder) as cache:
            payer = Payer(run=run, account=account, budget=plan.budget)
            journal = PurchaseJournal(plan, cache=cache, payer=payer)
            return await buy(PurchaseRecorder(journal), self.client, batch_size=4, concurrency=2)

    async def assert_cache_matches_ledger(self) -> None:
        lines = (await self.vendor.http.get("/v1/ledger")).text.splitlines()
        ledger = [Receipt.model_validate_json(line) for line in lines]
        assert not list(chain_breaks(ledger))
        with PaidCache.open(self.folder) as cache:
            stored = sorted(cache.receipts(), key=lambda receipt: receipt.seq)
        assert stored == [line for line in ledger if line.kind == "charge"]


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[ContractSetup]:
    async with vendor_at(tmp_path, HashEncoder(), budget=20) as vendor:
        transport = httpx.ASGITransport(app=vendor.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as http:
            # With real waits: the vendor needs time for the requests that hold the last units.
            client = VendorClient(http, SecretStr(vendor.key.token))
            yield ContractSetup(vendor=vendor, client=client, folder=tmp_path / "cache")


def pictures(count: int) -> list[bytes]:
    return [picture(seed) for seed in range(count)]


async def test_the_client_reads_every_page_of_the_vendor(setup: ContractSetup) -> None:
    (model,) = await setup.client.models()
    prices, account = await setup.client.prices(), await setup.client.account()
    assert model.dim == 8
    assert prices.units_for("image") == 1
    assert (account.id, account.remaining_units) == (setup.vendor.key.id, 20)


async def test_a_purchase_succeeds_and_both_records_agree(setup: ContractSetup) -> None:
    end = await setup.buy(await setup.plan(pictures(9), ["a bird", "caf\u00e9"], 100))
    assert (end.stop_reason, end.bought, end.units) == ("complete", 11, 11)
    assert setup.vendor.account.spent_units == 11
    await setup.assert_cache_matches_ledger()


async def test_the_second_purchase_is_free(setup: ContractSetup) -> None:
    await setup.buy(await setup.plan(pictures(5), [], 100), "one")
    plan = await setup.plan(pictures(5), [], 100)
    end = await setup.buy(plan, "two")
    assert (plan.units, end.requests) == (0, 0)
    assert setup.vendor.account.spent_units == 5


@pytest.mark.parametrize("budget", [3, 10, 100])
async def test_budgets_on_either_side_are_used_to_the_last_unit(
    setup: ContractSetup, budget: int
) -> None:
    end = await setup.buy(await setup.plan(pictures(25), [], budget))
    assert setup.vendor.account.spent_units == min(budget, 20)
    assert end.stop_reason == ("vendor budget" if budget > 20 else "client budget")
    await setup.assert_cache_matches_ledger()


async def test_a_file_that_is_not_an_image_is_refused_alone_and_for_good(
    setup: ContractSetup,
) -> None:
    files = [*pictures(3), b"this is not an image", *pictures(6)[3:]]
    end = await setup.buy(await setup.plan(files, [], 100))
    assert [refusal.code for refusal in end.refused] == ["invalid_image"]
    assert (end.bought, setup.vendor.account.spent_units) == (6, 6)
    assert (await setup.plan(files, [], 100)).refused_before == 1


async def test_a_paid_answer_can_be_recovered_byte_for_byte(setup: ContractSetup) -> None:
    plan = await setup.plan(pictures(2), [], 100)
    items = tuple(request.item() for request in plan.to_buy)
    batch = Batch(model=plan.model, prices=plan.prices, items=items)
    bought = await setup.client.embed(batch, "key-1")
    again = await setup.client.recover(batch.expected("key-1"))
    assert again is not None
    assert again.replayed
    assert again.receipt == bought.receipt
    assert (again.vectors == bought.vectors).all()
    assert setup.vendor.account.spent_units == 2


async def test_an_unknown_purchase_is_reported_as_unknown(setup: ContractSetup) -> None:
    plan = await setup.plan(pictures(1), [], 100)
    batch = Batch(model=plan.model, prices=plan.prices, items=(plan.to_buy[0].item(),))
    assert await setup.client.recover(batch.expected("never")) is None


async def test_a_wrong_key_is_refused_for_free(setup: ContractSetup) -> None:
    transport = httpx.ASGITransport(app=setup.vendor.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vendor") as http:
        stranger = VendorClient(http, SecretStr("sk_nobody_" + hashlib.sha256().hexdigest()))
        with pytest.raises(VendorError) as caught:
            await stranger.account()
    assert (caught.value.status, caught.value.charged) == (401, False)
