"""A selector's order at a real client: what a budget buys, and what a bigger one adds."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from cache.give_up import give_up
from cache.identity import image_item
from cache.paid import Intent, PaidCache, now_ms
from student.buying import Settled, purchase
from student.errors import BadInput, PlanExceedsBudget, PurchaseError
from student.job import run_job
from student.purchase.batch import purchase_key
from student.purchase.plan import Wanted
from student.purchase.wire import Model
from student.scan import Scanned, scan
from student.selection.orders import SELECTORS, order
from student.settings import JobSettings
from student.shopping_list import ShoppingList, candidates_for
from student.terminal import Terminal, quiet
from tests.pictures import write_domains
from tests.student.purchase.ledger_vendor import LedgerVendor, problem
from tests.student.purchase.shop import URL, client_of

TEXTS = 2
IMAGES = 3 * 2 * 4  # three domains, two classes, four of five pictures
RANKED_BY_LOOKS = [name for name in SELECTORS if SELECTORS[name].reads_features]
IN_ROUNDS = [name for name in SELECTORS if SELECTORS[name].in_rounds]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return write_domains(tmp_path / "pets", domains=4)


def job(pets: Path, **more: object) -> JobSettings:
    """Settings as a user would give them, for pictures of 16 pixels."""
    folder = pets.parent
    options: dict[str, object] = {
        "data": pets,
        "cache": folder / "cache",
        "out": folder / "out",
        "target_domain": ["d3"],
        "backbone": "test_efficientnet",
        "weights": "none",
        "image_size": 16,
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
    }
    return JobSettings.model_validate({**options, **more})


async def bought(
    settings: JobSettings, vendor: Callable[[httpx.Request], httpx.Response]
) -> tuple[Settled, list[int]]:
    """Buys, and says which images are paid for afterwards, by row."""
    scanned = scan(settings, quiet())
    with PaidCache.open(settings.cache) as cache:
        async with client_of(vendor) as client:
            settled = await purchase(client, settings, scanned, cache, quiet(), "distill-client")
        assert settled is not None
        return settled, paid_rows(settings, scanned, cache, settled)


def paid_rows(
    settings: JobSettings, scanned: Scanned, cache: PaidCache, settled: Settled
) -> list[int]:
    shopping = ShoppingList(settings, scanned, settled.plan.model)
    return [
        row
        for row in range(len(scanned.training))
        if not cache.missing([one.key for one in shopping.wanted([row])])
    ]


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
async def test_what_no_method_would_read_is_not_bought(more: dict[str, object], pets: Path) -> None:
    vendor = LedgerVendor()
    settled, images = await bought(job(pets, budget=1_000, **more), vendor)
    assert (vendor.spent, images) == (TEXTS, [])
    assert settled.bought.left_out == 0


@pytest.mark.parametrize(
    "more",
    [
        {"method": "vl2v-adip", "compare": True},  # with two that read none
        {"method": "kd"},
        {"method": "image-only"},
        {"method": "ours"},  # whatever lmd is where it is not named
        {"method": "vl2v-adip"},
    ],
)
async def test_what_one_of_the_methods_reads_is_bought(more: dict[str, object], pets: Path) -> None:
    vendor = LedgerVendor()
    await bought(job(pets, budget=1_000, **more), vendor)
    assert vendor.spent == TEXTS + IMAGES


@pytest.mark.parametrize("name", RANKED_BY_LOOKS)
async def test_a_bigger_budget_goes_on_where_a_smaller_one_ended(name: str, pets: Path) -> None:
    vendor = LedgerVendor()
    _, few = await bought(job(pets, selector=name, budget=TEXTS + 7), vendor)
    _, more = await bought(job(pets, selector=name, budget=TEXTS + 13), vendor)
    assert (len(few), len(more)) == (7, 13)
    assert set(few) < set(more)
    assert vendor.spent == TEXTS + 13
    fresh = job(pets, selector=name, budget=TEXTS + 13, cache=pets.parent / "fresh")
    assert (await bought(fresh, LedgerVendor()))[1] == more


@pytest.mark.parametrize("name", IN_ROUNDS)
async def test_rounds_choose_what_a_replay_on_the_full_purchase_chooses(
    name: str, pets: Path
) -> None:
    settings = job(pets, selector=name, budget=TEXTS + 11)
    _, few = await bought(settings, LedgerVendor())
    everything = job(pets, budget=TEXTS + IMAGES, cache=pets.parent / "full")
    settled, every = await bought(everything, LedgerVendor())
    scanned = scan(settings, quiet())
    with PaidCache.open(everything.cache) as cache:
        answers = ShoppingList(settings, scanned, settled.plan.model).answers(every, cache)
    candidates = candidates_for(SELECTORS[name], scanned, settings, quiet())
    assert sorted(order(name, candidates, seed=0, answers=answers)[:11]) == few


@pytest.mark.parametrize("name", IN_ROUNDS)
async def test_rounds_bought_again_cost_nothing(name: str, pets: Path) -> None:
    settings = job(pets, selector=name, budget=TEXTS + 11)
    vendor = LedgerVendor()
    first, few = await bought(settings, vendor)
    again, same = await bought(settings, vendor)
    assert (first.bought.units, again.bought.units, vendor.spent) == (13, 0, 13)
    assert same == few
    assert again.bought.left_out == IMAGES - 11
    assert again.bought.ending == "client budget"


async def test_rounds_are_recorded_as_purchases_of_one_job(pets: Path) -> None:
    settings = job(pets, selector="margin", budget=TEXTS + 11)
    settled, _ = await bought(settings, LedgerVendor())
    with PaidCache.open(settings.cache) as cache:
        runs = {run.run: run.bought_units for run in cache.runs()}
    # Two images, then four in all, then eight, then what is left of eleven; the texts first.
    assert [runs[settled.run], *(runs[f"{settled.run}.{part}"] for part in (2, 3, 4))] == [
        *(TEXTS + 2, 2, 4, 3)
    ]
    assert sum(runs.values()) == settled.bought.units == 13
    assert settled.bought.bought == 13


async def test_a_job_in_rounds_saves_nothing_of_what_it_has_just_bought(pets: Path) -> None:
    settings = job(pets, selector="margin", budget=TEXTS + 11)
    await bought(settings, LedgerVendor())
    with PaidCache.open(settings.cache) as cache:
        runs = list(cache.runs())
    assert [run.already_paid for run in runs] == [0, 0, 0, 0]
    # The last round wants all images that it would go on to: the budget ends it.
    assert [run.planned for run in runs[:3]] == [TEXTS + 2, 2, 4]


async def test_a_job_in_rounds_counts_what_an_earlier_job_paid_for_once(pets: Path) -> None:
    vendor = LedgerVendor()
    settings = job(pets, selector="margin", budget=TEXTS + 11)
    await bought(job(pets, budget=TEXTS + 5), vendor)
    settled, _ = await bought(settings, vendor)
    with PaidCache.open(settings.cache) as cache:
        runs = [run for run in cache.runs() if run.run.startswith(settled.run)]
        again, _ = await bought(settings, vendor)
        repeated = [run for run in cache.runs() if run.run.startswith(again.run)]
    found = sum(run.already_paid for run in runs)
    assert TEXTS <= found <= TEXTS + 5
    assert sum(run.already_paid for run in repeated) == found + settled.bought.units


async def test_a_run_has_saved_what_its_hits_would_cost_in_queries(pets: Path) -> None:
    vendor, settings = LedgerVendor(), job(pets, budget=1_000)
    vendor.price["units"] = {"image": 3, "text": 1}
    await bought(settings, vendor)
    again, _ = await bought(settings, vendor)
    with PaidCache.open(settings.cache) as cache:
        saved = {run.run: run.saved_micro_usd for run in cache.runs()}
    assert saved[again.run] == again.plan.saved_micro_usd == 100 * (TEXTS + 3 * IMAGES)


async def test_a_vendor_that_runs_dry_ends_the_rounds(pets: Path) -> None:
    settled, few = await bought(
        job(pets, selector="hybrid", budget=1000), LedgerVendor(budget=TEXTS + 5)
    )
    assert len(few) == 5
    assert settled.bought.left_out == IMAGES - 5
    assert settled.bought.ending == "vendor budget"


@pytest.mark.parametrize(
    ("budget", "account", "wall", "remedy"),
    [
        (1_000, 1, "the account at the vendor has 1 left", "Have it raised there"),
        (1, 1_000, "the budget has 1 left", "Raise --budget"),
    ],
)
async def test_prompts_that_do_not_fit_name_the_wall_that_was_hit(
    budget: int, account: int, wall: str, remedy: str, pets: Path
) -> None:
    vendor = LedgerVendor(budget=account)
    with pytest.raises(PlanExceedsBudget, match=f"needs 2 queries and {wall}.*{remedy}"):
        await bought(job(pets, budget=budget), vendor)
    assert vendor.spent == 0


@pytest.mark.parametrize(
    ("budget", "account", "ending"),
    [(1_000, TEXTS + 5, "vendor budget"), (TEXTS + 5, 1_000, "client budget")],
)
async def test_a_purchase_cut_short_ends_at_the_smaller_of_two_walls(
    budget: int, account: int, ending: str, pets: Path
) -> None:
    settled, few = await bought(job(pets, budget=budget), LedgerVendor(budget=account))
    assert (len(few), settled.bought.ending) == (5, ending)


async def test_every_view_of_a_chosen_image_is_bought(pets: Path) -> None:
    settings = job(pets, selector="margin", budget=TEXTS + 12, views=3)
    _, few = await bought(settings, LedgerVendor())
    assert len(few) == 4


async def test_a_refused_image_is_passed_over_and_the_next_is_chosen(pets: Path) -> None:
    settings = job(pets, selector="margin", budget=TEXTS + 11)
    _, expected = await bought(settings, LedgerVendor())
    hated = scan(settings, quiet()).training[expected[0]].digest
    vendor = LedgerVendor()

    def picky(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)["input"] if request.method == "POST" else []
        for index, one in enumerate(sent):
            if image_item(base64.b64decode(one.get("image", ""))) == hated:
                return problem(422, "invalid_image", index=index)
        return vendor(request)

    fresh = job(pets, selector="margin", budget=TEXTS + 11, cache=pets.parent / "fresh")
    settled, few = await bought(fresh, picky)
    assert len(few) == 11
    assert expected[0] not in few
    assert len(settled.bought.refused) == 1
    assert settled.bought.left_out == IMAGES - 12


async def test_where_the_budget_reaches_everything_no_image_is_looked_at(pets: Path) -> None:
    settings = job(pets, selector="margin", budget=TEXTS + IMAGES)
    settled, every = await bought(settings, LedgerVendor())
    assert len(every) == IMAGES
    assert settled.bought.ending == "complete"
    assert not (settings.out / "features").exists()


async def test_a_dry_run_of_rounds_says_what_they_would_cost_and_buys_nothing(pets: Path) -> None:
    settings = job(pets, selector="hybrid", budget=TEXTS + 11, dry_run=True)
    vendor, said = LedgerVendor(), StringIO()
    with PaidCache.open(settings.cache) as cache:
        async with client_of(vendor) as client:
            settled = await purchase(
                client,
                settings,
                scan(settings, quiet()),
                cache,
                Terminal(Console(file=said, width=120)),
                "distill-client",
            )
    assert settled is None
    assert vendor.spent == 0
    assert "2 texts, 11 images" in said.getvalue()


def left_open(settings: JobSettings, wanted: Sequence[Wanted], *, key_id: str) -> Intent:
    """Journals a purchase as a run of that API key does that is killed before it sends."""
    keys = tuple(one.key for one in wanted)
    intent = Intent(
        idempotency_key=purchase_key(
            account=f"{URL}#{key_id}",
            model_fingerprint=keys[0].model_fingerprint,
            digests=[key.digest for key in keys],
            epoch="killed",
        ),
        keys=keys,
        units=len(keys),
        run="killed",
        created_ms=now_ms(),
    )
    with PaidCache.open(settings.cache) as cache:
        cache.reserve(intent, budget=1_000)
    return intent


def prompts(settings: JobSettings, vendor: LedgerVendor) -> list[Wanted]:
    model = Model.model_validate(vendor.model)
    return ShoppingList(settings, scan(settings, quiet()), model).wanted([])


async def test_no_image_is_bought_while_another_keys_purchase_holds_the_prompts(
    pets: Path,
) -> None:
    vendor, settings = LedgerVendor(), job(pets, budget=1_000)
    theirs = left_open(settings, prompts(settings, vendor), key_id="oldkey")
    with pytest.raises(PurchaseError) as caught:
        await bought(settings, vendor)
    told = str(caught.value)
    assert f"purchase {theirs.idempotency_key} of run killed" in told
    assert "another API key than testkey" in told
    assert "only with that key can the vendor say whether its 2 queries were charged" in told
    assert (vendor.spent, vendor.posts) == (0, [])
    # What the message says to do helps.
    assert f"give-up {theirs.idempotency_key}" in told
    with PaidCache.open(settings.cache) as cache:
        give_up(cache, theirs.idempotency_key)
    await bought(settings, vendor)
    assert vendor.spent == TEXTS + IMAGES


async def test_another_keys_purchase_that_is_under_way_is_waited_for_by_hand(pets: Path) -> None:
    vendor, settings = LedgerVendor(), job(pets, budget=1_000)
    left_open(settings, prompts(settings, vendor), key_id="oldkey")
    with (
        PaidCache.open(settings.cache) as cache,
        cache.alive("killed"),
        pytest.raises(PurchaseError, match="that run is alive: wait for its end"),
    ):
        await bought(settings, vendor)
    assert vendor.spent == 0


async def test_ones_own_open_purchase_of_the_prompts_is_settled(pets: Path) -> None:
    vendor, settings = LedgerVendor(), job(pets, budget=1_000)
    left_open(settings, prompts(settings, vendor), key_id="testkey")
    settled, _ = await bought(settings, vendor)
    assert (vendor.spent, settled.bought.ending) == (TEXTS + IMAGES, "complete")


async def test_another_keys_purchase_of_an_image_does_not_stop_the_job(pets: Path) -> None:
    vendor, settings = LedgerVendor(), job(pets, budget=1_000)
    scanned = scan(settings, quiet())
    shopping = ShoppingList(settings, scanned, Model.model_validate(vendor.model))
    left_open(settings, shopping.wanted([0])[TEXTS:], key_id="oldkey")
    settled, images = await bought(settings, vendor)
    assert (len(images), settled.bought.ending) == (IMAGES - 1, "waiting")


def test_an_unknown_selector_is_refused_before_anything_is_read(pets: Path) -> None:
    settings = job(pets, selector="magic", budget=1, data=Path("/nowhere"))
    with pytest.raises(BadInput, match="no selector magic"):
        run_job(settings, quiet(), command="distill-client")
