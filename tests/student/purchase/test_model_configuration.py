"""Two models of equal weights and unequal configuration are two models; old caches keep theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.errors import CacheUnavailable
from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from student.errors import ModelChanged, VendorMisbehaved
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import buy_and_record, named_in
from student.vendor.schemas import Model
from tests.support.ledger_vendor import LedgerVendor
from tests.support.purchase_setup import ACCOUNT, PurchaseSetup, client_of

GELU, QUICK_GELU = {"quick_gelu": False}, {"quick_gelu": True}


def sell(vendor: LedgerVendor, configuration: dict[str, Any]) -> Model:
    """The vendor sells its weights under this configuration from now on."""
    vendor.model["configuration"] = configuration
    model = Model.model_validate(vendor.model)
    vendor.model["fingerprint_v2"] = model.computed_fingerprint_v2()
    return Model.model_validate(vendor.model)


def plan_of(setup: PurchaseSetup, cache: PaidCache, count: int = 3) -> Plan:
    model = named_in(cache, setup.model)
    requests = [
        replace(one, key=replace(one.key, model_fingerprint=model.fingerprint))
        for one in setup.images(count)
    ]
    return make_plan(requests, cache=cache, model=model, prices=setup.prices, budget=1000)


async def buy(setup: PurchaseSetup, plan: Plan | None = None, count: int = 3) -> PurchaseSummary:
    """Plan and buy, as a run of the client does from the vendor's models on."""
    run = f"run-{len(setup.vendor.seen)}"
    with PaidCache.open(setup.folder) as cache:
        plan = plan or plan_of(setup, cache, count)
        async with client_of(setup.vendor, setup.clock) as client:
            payer = Payer(run=run, account=ACCOUNT, budget=1000)
            recorder = PurchaseRecorder(PurchaseJournal(plan, cache=cache, payer=payer))
            return await buy_and_record(recorder, client, command="test")


@pytest.fixture
def setup(tmp_path: Path) -> PurchaseSetup:
    return PurchaseSetup(tmp_path / "cache", LedgerVendor())


async def test_equal_weights_of_unequal_configuration_are_bought_apart(
    setup: PurchaseSetup,
) -> None:
    sell(setup.vendor, GELU)
    assert (await buy(setup)).bought == 3
    other = sell(setup.vendor, QUICK_GELU)
    assert (await buy(setup)).bought == 3
    assert (await buy(setup)).bought == 0
    sell(setup.vendor, GELU)
    assert (await buy(setup)).bought == 0
    with PaidCache.open(setup.folder) as cache:
        names = {row.key.model_fingerprint for row in cache.rows()}
        assert names == {other.fingerprint, other.fingerprint_v2}


async def test_what_an_old_cache_paid_for_is_found_as_paid(setup: PurchaseSetup) -> None:
    assert (await buy(setup)).bought == 3  # from a vendor of version 0.1
    sell(setup.vendor, GELU)
    assert (await buy(setup)).bought == 0
    sell(setup.vendor, QUICK_GELU)  # and from then on the configuration is known
    assert (await buy(setup)).bought == 3


async def test_a_configuration_is_known_before_the_first_row_is_paid(setup: PurchaseSetup) -> None:
    sell(setup.vendor, GELU)

    def dies(vendor: LedgerVendor, request: Any) -> Any:
        vendor.serve(request)
        raise RuntimeError

    setup.vendor.faults.append(dies)
    with pytest.raises(RuntimeError):
        await buy(setup)
    with PaidCache.open(setup.folder) as cache:
        sell(setup.vendor, QUICK_GELU)
        assert plan_of(setup, cache).model.fingerprint == setup.model.fingerprint_v2


async def test_a_configuration_that_changes_during_a_run_stops_it(setup: PurchaseSetup) -> None:
    sell(setup.vendor, GELU)
    await buy(setup, count=1)
    with PaidCache.open(setup.folder) as cache:
        plan = plan_of(setup, cache, 2)
    other = sell(setup.vendor, QUICK_GELU)
    with pytest.raises(ModelChanged):
        await buy(setup, plan)
    with PaidCache.open(setup.folder) as cache:
        assert [row.key.model_fingerprint for row in cache.rows()][1:] == [other.fingerprint_v2]


async def test_caches_of_two_configurations_are_not_merged(
    setup: PurchaseSetup, tmp_path: Path
) -> None:
    sell(setup.vendor, GELU)
    await buy(setup)
    elsewhere = PurchaseSetup(tmp_path / "elsewhere", setup.vendor)
    sell(setup.vendor, QUICK_GELU)
    await buy(elsewhere)
    with (
        PaidCache.open(setup.folder) as into,
        PaidCache.open(elsewhere.folder) as source,
        pytest.raises(CacheUnavailable, match="two models under the fingerprint"),
    ):
        merge(source, into)


async def test_a_second_fingerprint_that_contradicts_the_facts_is_refused(
    setup: PurchaseSetup,
) -> None:
    sell(setup.vendor, GELU)
    setup.vendor.model["configuration"] = QUICK_GELU
    async with client_of(setup.vendor) as client:
        with pytest.raises(VendorMisbehaved, match="does not fit its facts"):
            await client.models()
