"""Embeddings cost the amount on their receipts, whatever a query costs today."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import Receipt
from student.purchase.cost import PurchaseCost, purchase_cost
from student.vendor.schemas import Prices
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    text,
)

FEW = images(0, 1)
MORE = images(2, 3, 4)


def prices(*, image: int = 1, text: int = 1) -> Prices:
    """Today's price list."""
    return Prices.model_validate(
        {
            "version": "today",
            "currency": "USD",
            "units": {"image": image, "text": text},
            "micro_usd_per_unit": 7,
        }
    )


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[PaidCache]:
    with PaidCache.open(tmp_path / "cache") as cache:
        yield cache


def figures(bill: PurchaseCost) -> tuple[int, int]:
    return bill.units, bill.cost_micro_usd


def bought_for(cache: PaidCache, ledger: Ledger, units: int, *keys: EmbeddingKey) -> Receipt:
    """Buy keys that cost so many units together."""
    intent = intent_of(*keys, units=units)
    cache.reserve(intent, budget=50_000)
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    return receipt


def test_each_embedding_costs_the_price_on_its_receipt(cache: PaidCache) -> None:
    ledger = Ledger(price=100)
    buy(cache, ledger, *FEW)
    ledger.price = 500
    buy(cache, ledger, *MORE)
    assert figures(purchase_cost(cache, [*FEW, *MORE], prices())) == (5, 2 * 100 + 3 * 500)
    assert figures(purchase_cost(cache, [FEW[0], MORE[0]], prices())) == (2, 100 + 500)


def test_only_the_receipts_of_these_embeddings_count(cache: PaidCache) -> None:
    ledger = Ledger()
    first, second = buy(cache, ledger, *FEW), buy(cache, ledger, *MORE)
    bill = purchase_cost(cache, [FEW[0]], prices())
    assert [part.receipt for part in bill.receipts] == [first]
    both = purchase_cost(cache, [*FEW, *MORE], prices())
    assert {part.receipt for part in both.receipts} == {first, second}
    assert both.digest != bill.digest
    assert figures(purchase_cost(cache, [], prices())) == (0, 0)


def test_an_image_and_a_text_of_one_request_cost_what_each_costs(cache: PaidCache) -> None:
    bought_for(cache, Ledger(), 2 * 3 + 1, *FEW, text("a"))
    today = prices(image=3, text=1)
    assert figures(purchase_cost(cache, [text("a")], today)) == (1, 100)
    assert figures(purchase_cost(cache, [FEW[1]], today)) == (3, 300)
    assert figures(purchase_cost(cache, [*FEW, text("a")], today)) == (7, 700)


def test_the_cost_of_a_mixed_request_is_divided_without_remainder(cache: PaidCache) -> None:
    ledger = Ledger()
    bought_for(cache, ledger, 2 * 2, *FEW)
    bought_for(cache, ledger, 2 + 1, image(9), text("a"))
    assert figures(purchase_cost(cache, [FEW[0]], prices())) == (2, 200)
    assert figures(purchase_cost(cache, [*FEW, image(9), text("a")], prices())) == (7, 700)


def test_request_ids_of_two_vendors_may_be_the_same(cache: PaidCache) -> None:
    ledger, other = Ledger(price=100), Ledger(price=900)
    other.charge(intent_of(image(99)))
    buy(cache, ledger, *FEW)
    intent = intent_of(*MORE)
    receipt = other.charge(intent, request_id="req_0002")
    cache.reserve(intent, budget=50_000)
    cache.commit(intent, rows_of(intent, receipt), receipt, account="http://other:8000#k1")
    assert figures(purchase_cost(cache, FEW, prices())) == (2, 200)
    assert figures(purchase_cost(cache, MORE, prices())) == (3, 2700)
