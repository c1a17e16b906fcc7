"""What a purchase says of the teacher while there is still something to buy."""

from __future__ import annotations

import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from cache.paid_cache import Intent, PaidCache
from student.console import Terminal, quiet
from student.data.image_set import load_image_set
from student.embeddings.keys import original_key
from student.purchase.rounds import run_purchase
from student.selection.first_answers import FirstAnswers
from tests.support.client_purchases import IMAGES, TEXTS, run_options
from tests.support.ledger_vendor import LedgerVendor
from tests.support.pictures import write_domains
from tests.support.purchase_setup import client_of

HANDFUL = 8
SAID = f"of the first {HANDFUL} images correctly (zero-shot, 95% interval"


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in ("teacher_trial", "rounds"):
        monkeypatch.setattr(f"student.purchase.{module}.HANDFUL", HANDFUL)
    return write_domains(tmp_path / "pets", domains=4)


async def printed(
    pets: Path,
    vendor: Callable[[httpx.Request], httpx.Response],
    *,
    stops_at_guesses: bool = False,
    **more: object,
) -> str:
    options, output = run_options(pets, **more), StringIO()
    scanned = load_image_set(options.data, options.run, quiet())
    with PaidCache.open(options.purchase.cache) as cache:
        async with client_of(vendor) as client:
            terminal = Terminal(Console(file=output, width=400))
            await run_purchase(
                client,
                options,
                scanned,
                cache,
                terminal,
                "distill-client",
                stops_at_guesses=stops_at_guesses,
            )
    return output.getvalue()


async def test_the_teacher_is_judged_by_the_first_images_once_before_the_rest_is_bought(
    pets: Path,
) -> None:
    vendor = LedgerVendor()
    spent_when_said: list[int] = []
    say = Terminal.warn

    def warn(terminal: Terminal, text: str) -> None:
        if SAID in text:
            spent_when_said.append(vendor.spent)
        say(terminal, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Terminal, "warn", warn)
        patch.setattr("student.purchase.teacher_trial.DOUBTFUL", 1.1)  # no teacher is that good
        output = await printed(pets, vendor, budget=1_000, concurrency=1)
    assert output.count(SAID) == 1
    (spent,) = spent_when_said
    assert TEXTS + HANDFUL <= spent < TEXTS + HANDFUL + 4  # of requests of four
    assert vendor.spent > spent
    assert "Ctrl-C stops the purchase, and what is bought stays" in output


async def test_a_teacher_that_may_know_the_images_is_not_warned_about(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("student.purchase.teacher_trial.DOUBTFUL", 0.0)
    output = await printed(pets, LedgerVendor(), budget=1_000)
    assert SAID in output
    assert "Ctrl-C" not in output


@pytest.mark.parametrize(
    "more",
    [
        {"budget": TEXTS + HANDFUL},  # nothing would be left to stop
        {"method": "erm", "budget": 1_000},
        {"dry_run": True, "budget": 1_000},
    ],
)
async def test_nothing_is_said_where_no_more_images_are_to_be_bought(
    pets: Path, more: dict[str, Any]
) -> None:
    assert SAID not in await printed(pets, LedgerVendor(), **more)


@pytest.mark.parametrize(
    ("more", "spent"),
    [
        ({}, TEXTS + HANDFUL),
        ({"budget": TEXTS + HANDFUL + 4, "selector": "herding"}, TEXTS + HANDFUL),
        ({"budget": TEXTS + HANDFUL + 4, "selector": "margin"}, TEXTS + HANDFUL),  # in two rounds
        ({"budget": TEXTS + 4}, TEXTS + 4),  # less than a handful
        ({"views": 2, "budget": TEXTS + 2 * HANDFUL}, TEXTS + 2 * HANDFUL),
    ],
)
async def test_a_purchase_stops_at_a_teacher_that_guesses(
    more: dict[str, Any], spent: int, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstAnswers, "are_guesses", property(lambda _: True))
    vendor = LedgerVendor()
    for _ in range(2):  # the second run reads the same answers and buys nothing
        output = await printed(pets, vendor, stops_at_guesses=True, **{"budget": 1_000, **more})
        assert vendor.spent == spent
    assert "left out (teacher guesses)" in output


async def test_a_first_round_larger_than_a_handful_waits_for_the_judgement_of_the_first_images(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstAnswers, "are_guesses", property(lambda _: True))
    monkeypatch.setattr("student.acquisition.margin.max", lambda *sizes: HANDFUL + 2, raising=False)
    vendor, budget = LedgerVendor(), TEXTS + HANDFUL + 1  # ends within the first round
    output = await printed(pets, vendor, stops_at_guesses=True, budget=budget, selector="margin")
    assert vendor.spent == TEXTS + HANDFUL
    assert "left out (teacher guesses)" in output


@pytest.mark.parametrize("selector", ["random", "margin"])
async def test_the_teacher_is_judged_by_a_handful_of_answers_though_the_vendor_refuses_some(
    selector: str, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[int] = []

    def are_guesses(found: FirstAnswers) -> bool:
        judged.append(found.images)
        return True

    monkeypatch.setattr(FirstAnswers, "are_guesses", property(are_guesses))
    vendor, refused = LedgerVendor(), set[str]()

    def refuses(item: dict[str, str]) -> bool:
        """The first five images that are sent, whenever they are sent."""
        if "image" in item and len(refused) < 5:
            refused.add(item["image"])
        return item.get("image") in refused

    vendor.refuses = refuses
    more = {"budget": 1_000, "selector": selector}
    await printed(pets, vendor, stops_at_guesses=True, **more)
    assert judged == [HANDFUL]
    assert vendor.spent == TEXTS + HANDFUL
    await printed(pets, vendor, stops_at_guesses=True, **more)
    assert judged == [HANDFUL, HANDFUL]
    assert vendor.spent == TEXTS + HANDFUL


async def test_images_that_another_run_asks_for_do_not_end_the_purchase_of_the_others(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FirstAnswers, "are_guesses", property(lambda _: False))
    vendor, options = LedgerVendor(), run_options(pets)
    held = load_image_set(options.data, options.run, quiet()).training[: IMAGES // 2]
    keys = tuple(original_key(vendor.model["fingerprint"], item) for item in held)
    with PaidCache.open(options.purchase.cache) as cache:
        now_ms = int(time.time() * 1000)
        intent = Intent(
            idempotency_key="0" * 64, keys=keys, units=len(keys), run="killed", created_ms=now_ms
        )
        cache.reserve(intent, budget=1_000)
    output = await printed(pets, vendor, stops_at_guesses=True, budget=1_000)
    assert vendor.spent == TEXTS + IMAGES - len(keys)
    assert f"{len(keys)} left out (waiting)" in output


async def test_no_more_images_are_bought_where_a_class_text_is_refused(pets: Path) -> None:
    vendor = LedgerVendor()
    vendor.refuses = lambda item: "c0" in item.get("text", "")
    for _ in range(2):
        output = await printed(pets, vendor, stops_at_guesses=True, budget=1_000)
        assert vendor.spent == TEXTS - 1 + HANDFUL
        assert "left out (class text refused)" in output
