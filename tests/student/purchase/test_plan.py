"""A plan costs nothing and reports what would be bought, spent and left out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cache.records.money import dollars
from cache.storage.reader import CacheReader
from student.data.folder.image_file import read_image_file
from student.embeddings.keys import original_key
from student.errors import PlanExceedsBudget
from student.purchase.embedding_requests import EmbeddingRequest, whole_image_request
from student.purchase.plan import Plan, make_plan
from student.vendor.schemas import Prices
from tests.support.ledger_vendor import LedgerVendor, model_facts
from tests.support.purchase_setup import PurchaseSetup


def names(wanted: tuple[EmbeddingRequest, ...]) -> list[str]:
    return [str(request.name) for request in wanted]


def test_texts_come_first_and_images_in_their_rank(setup: PurchaseSetup) -> None:
    wanted = [setup.image("b"), setup.text("t2"), setup.image("a"), setup.text("t1")]
    plan = setup.plan(wanted)
    assert names(plan.to_buy) == ["t2", "t1", "b", "a"]
    assert (plan.images_asked, plan.texts_asked, plan.units, plan.cost_micro_usd) == (2, 2, 4, 400)


def test_requests_beyond_the_budget_are_left_out(setup: PurchaseSetup) -> None:
    plan = setup.plan([*setup.images(5), setup.text("t")], budget=3)
    assert names(plan.to_buy) == ["t", "image 0", "image 1"]
    assert names(plan.left_out) == ["image 2", "image 3", "image 4"]
    assert (plan.remaining, plan.units) == (3, 3)


def test_a_bigger_budget_buys_a_superset(setup: PurchaseSetup) -> None:
    bought = [set(names(setup.plan(setup.images(9), budget=n).to_buy)) for n in range(10)]
    assert all(smaller < bigger for smaller, bigger in pairwise(bought))


def test_an_item_that_costs_more_than_is_left_ends_the_prefix(
    setup: PurchaseSetup, vendor: LedgerVendor
) -> None:
    vendor.price["units"] = {"image": 3, "text": 1}
    plan = setup.plan([setup.text("t"), *setup.images(3)], budget=6)
    assert (names(plan.to_buy), plan.units) == (["t", "image 0"], 4)


def test_equal_files_and_equivalent_spellings_of_a_text_are_bought_once(
    setup: PurchaseSetup,
) -> None:
    wanted = [setup.image("a"), setup.image("a"), setup.text("caf\u00e9"), setup.text("cafe\u0301")]
    plan = setup.plan(wanted)
    assert (len(plan.ordered), plan.units) == (2, 2)
    assert {
        request.item().payload for request in plan.ordered if request.key.modality == "text"
    } == {"caf\u00e9".encode()}


async def test_paid_embeddings_are_not_planned_again_and_the_saving_is_reported(
    setup: PurchaseSetup,
) -> None:
    await setup.buy(setup.images(3))
    plan = setup.plan(setup.images(5), budget=4)
    assert (plan.already_paid, plan.saved_micro_usd, plan.remaining) == (3, 300, 1)
    assert names(plan.to_buy) == ["image 3"]


async def test_making_a_plan_neither_asks_the_vendor_nor_writes(setup: PurchaseSetup) -> None:
    await setup.buy(setup.images(2))
    database = setup.folder / "cache.db"
    before, seen = database.read_bytes(), len(setup.vendor.seen)
    with CacheReader.open(setup.folder) as records:
        plan = make_plan(
            setup.images(5), cache=records, model=setup.model, prices=setup.prices, budget=9
        )
    assert names(plan.to_buy) == ["image 2", "image 3", "image 4"]
    assert (database.read_bytes(), len(setup.vendor.seen)) == (before, seen)


def test_a_budget_that_cannot_pay_the_texts_is_refused(setup: PurchaseSetup) -> None:
    wanted = [setup.text("a"), setup.text("b"), setup.text("c"), *setup.images(3)]
    with pytest.raises(PlanExceedsBudget) as caught:
        setup.plan(wanted, budget=2).require_texts()
    assert (caught.value.needed, caught.value.remaining, caught.value.exit_code) == (3, 2, 3)
    assert "nothing was sent" in str(caught.value)
    setup.plan(wanted, budget=3).require_texts()


def test_a_key_of_another_model_is_refused_in_a_plan(setup: PurchaseSetup) -> None:
    wanted = setup.images(1)
    setup.vendor.model = model_facts(weights="cd" * 32)
    with pytest.raises(ValueError, match="another model"):
        setup.plan(wanted)


def described(plan: Plan) -> dict[str, str]:
    return dict(plan.describe())


async def test_the_description_has_every_figure(setup: PurchaseSetup) -> None:
    await setup.buy([*setup.images(2), setup.image("bad")])
    wanted = [*setup.images(6), setup.image("image 0"), setup.text("t"), setup.image("bad")]
    rows = described(setup.plan(wanted, budget=5))
    assert rows == {
        "model": "tiny (" + setup.model.fingerprint[:19] + ", 8-d)",
        "images asked": "8",
        "texts asked": "1",
        "distinct": "8 (1 repeats are free)",
        "already paid": "2 (saves $0.0002)",
        "refused before": "1",
        "in open purchases of earlier runs": "0",
        "to buy": "1 texts, 2 images",
        "longest text": "24 tokens; a longer one is refused, not charged",
        "queries": "3",
        "cost": "$0.0003 (100 micro-USD a query, price list 2026-11)",
        "budget left": "3 of 5 now, 0 afterwards",
        "left out by the budget": "2",
    }


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (100, "$0.0001"),
        (5_000_000, "$5.00"),
        (1_234_567_890, "$1,234.56789"),
    ],
)
def test_money_is_written_exactly(micro: int, text: str) -> None:
    assert dollars(micro) == text


@given(units=st.integers(0, 10**12), price=st.integers(0, 10**6))
def test_costs_are_whole_micro_dollars(units: int, price: int) -> None:
    prices = Prices.model_validate(
        {
            "version": "v",
            "currency": "USD",
            "units": {"image": 1, "text": 1},
            "micro_usd_per_unit": price,
        }
    )
    assert prices.cost(units) == units * price


def test_a_request_for_a_file_keeps_nothing_that_the_file_knows(
    setup: PurchaseSetup, tmp_path: Path
) -> None:
    """A plan holds one for each of up to a million images."""
    path = tmp_path / "bird.png"
    Image.new("RGB", (20, 12)).save(path)
    item = read_image_file(path)
    key = original_key(setup.model.fingerprint, item)
    request = whole_image_request(key, item, None, item.path)
    assert request.payload is item
    assert request.name is item.path
    assert request.key.item is item.digest
    assert (request.pixels, request.made_pixels) == (240, 0)
    assert request.item().payload == path.read_bytes()
