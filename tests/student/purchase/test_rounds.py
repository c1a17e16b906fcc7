"""The order of a selector in a real client: what a budget buys and what a bigger budget adds."""

from __future__ import annotations

import base64
import json
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from cache.paid_cache import PaidCache
from cache.records.embedding_key import image_item
from student.acquisition.strategies import SELECTORS, order
from student.console import Terminal, quiet
from student.data.image_set import load_image_set
from student.errors import BadInput
from student.purchase.plan import Plan
from student.purchase.requirements import EmbeddingRequirements, candidates_for
from student.purchase.rounds import run_purchase
from tests.support.client_purchases import IMAGES, TEXTS, bought, run_options
from tests.support.ledger_vendor import LedgerVendor, problem
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of

RANKED_BY_LOOKS = [name for name in SELECTORS if SELECTORS[name].reads_features]
IN_ROUNDS = [name for name in SELECTORS if SELECTORS[name].in_rounds]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", domains=4)


@pytest.mark.parametrize(
    "more",
    [
        {"method": "erm"},
        {"method": "lp-ft"},
        {"method": "text-only"},
        {"method": "erm", "selector": "margin"},
        {"method": "vl2v-adip", "lmd": 0.0},
    ],
)
async def test_embeddings_that_no_method_reads_are_not_bought(
    more: dict[str, object], pets: Path
) -> None:
    vendor = LedgerVendor()
    settled, images = await bought(run_options(pets, budget=1_000, **more), vendor)
    assert (vendor.spent, images) == (TEXTS, [])
    assert settled.summary.left_out == 0


@pytest.mark.parametrize(
    "more",
    [
        {"method": "vl2v-adip", "compare": True},  # together with two methods that read none
        {"method": "kd"},
        {"method": "image-only"},
        {"method": "vl2v-adip-1q"},  # whatever lmd is if the user does not set it
        {"method": "vl2v-adip"},
        {"method": "auto"},  # some of its candidates read them
    ],
)
async def test_embeddings_that_any_method_reads_are_bought(
    more: dict[str, object], pets: Path
) -> None:
    vendor = LedgerVendor()
    await bought(run_options(pets, budget=1_000, **more), vendor)
    assert vendor.spent == TEXTS + IMAGES


@pytest.mark.parametrize("name", RANKED_BY_LOOKS)
async def test_a_bigger_budget_continues_the_order_of_a_smaller_budget(
    name: str, pets: Path
) -> None:
    vendor = LedgerVendor()
    _, few = await bought(run_options(pets, selector=name, budget=TEXTS + 7), vendor)
    _, more = await bought(run_options(pets, selector=name, budget=TEXTS + 13), vendor)
    assert (len(few), len(more)) == (7, 13)
    assert set(few) < set(more)
    assert vendor.spent == TEXTS + 13
    fresh = run_options(pets, selector=name, budget=TEXTS + 13, cache=pets.parent / "fresh")
    assert (await bought(fresh, LedgerVendor()))[1] == more


@pytest.mark.parametrize("name", IN_ROUNDS)
async def test_rounds_choose_what_a_replay_on_the_full_purchase_chooses(
    name: str, pets: Path
) -> None:
    settings = run_options(pets, selector=name, budget=TEXTS + 11)
    _, few = await bought(settings, LedgerVendor())
    everything = run_options(pets, budget=TEXTS + IMAGES, cache=pets.parent / "full")
    settled, every = await bought(everything, LedgerVendor())
    scanned = load_image_set(settings.data, settings.run, quiet())
    with PaidCache.open(everything.purchase.cache) as cache:
        answers = EmbeddingRequirements(
            settings.data, settings.purchase.prompts, scanned, settled.plan.model
        ).answers(every, cache)
    candidates = candidates_for(SELECTORS[name], scanned, settings.training, settings.run, quiet())
    assert sorted(order(name, candidates, seed=0, answers=answers)[:11]) == few


@pytest.mark.parametrize("name", IN_ROUNDS)
async def test_rounds_bought_again_cost_nothing(name: str, pets: Path) -> None:
    settings = run_options(pets, selector=name, budget=TEXTS + 11)
    vendor = LedgerVendor()
    first, few = await bought(settings, vendor)
    again, same = await bought(settings, vendor)
    assert (first.summary.units, again.summary.units, vendor.spent) == (13, 0, 13)
    assert same == few
    assert again.summary.left_out == IMAGES - 11
    assert again.summary.stop_reason == "client budget"


async def test_an_exhausted_account_ends_the_rounds(pets: Path) -> None:
    settled, few = await bought(
        run_options(pets, selector="hybrid", budget=1000), LedgerVendor(budget=TEXTS + 5)
    )
    assert len(few) == 5
    assert settled.summary.left_out == IMAGES - 5
    assert settled.summary.stop_reason == "vendor budget"


async def test_every_view_of_a_chosen_image_is_bought(pets: Path) -> None:
    settings = run_options(pets, selector="margin", budget=TEXTS + 12, views=3)
    _, few = await bought(settings, LedgerVendor())
    assert len(few) == 4


async def test_a_refused_image_is_passed_over_and_the_next_is_chosen(pets: Path) -> None:
    settings = run_options(pets, selector="margin", budget=TEXTS + 11)
    _, expected = await bought(settings, LedgerVendor())
    refused_item = load_image_set(settings.data, settings.run, quiet()).training[expected[0]].digest
    vendor = LedgerVendor()

    def refusing_vendor(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["input"] if request.method == "POST" else []
        for index, item in enumerate(sent):
            if image_item(base64.b64decode(item.get("image", ""))) == refused_item:
                return problem(422, "invalid_image", index=index)
        return vendor(request)

    fresh = run_options(pets, selector="margin", budget=TEXTS + 11, cache=pets.parent / "fresh")
    settled, few = await bought(fresh, refusing_vendor)
    assert len(few) == 11
    assert expected[0] not in few
    assert len(settled.summary.refused) == 1
    assert settled.summary.left_out == IMAGES - 12


async def test_when_the_budget_covers_everything_no_features_are_computed(pets: Path) -> None:
    settings = run_options(pets, selector="margin", budget=TEXTS + IMAGES)
    settled, every = await bought(settings, LedgerVendor())
    assert len(every) == IMAGES
    assert settled.summary.stop_reason == "complete"
    assert not (settings.run.out / "features").exists()


async def test_a_dry_run_of_rounds_says_what_they_would_cost_and_buys_nothing(pets: Path) -> None:
    settings = run_options(pets, selector="hybrid", budget=TEXTS + 11, dry_run=True)
    vendor, printed = LedgerVendor(), StringIO()
    with PaidCache.open(settings.purchase.cache) as cache:
        async with client_of(vendor) as client:
            settled = await run_purchase(
                client,
                settings,
                load_image_set(settings.data, settings.run, quiet()),
                cache,
                Terminal(Console(file=printed, width=120)),
                "distill-client",
            )
    assert isinstance(settled, Plan)
    assert vendor.spent == 0
    assert "2 texts, 11 images" in printed.getvalue()


def test_an_unknown_selector_is_refused_before_anything_is_read(pets: Path) -> None:
    with pytest.raises(BadInput, match="selector: Input should be 'random', "):
        run_options(pets, selector="magic", budget=1, data=Path("/nowhere"))
