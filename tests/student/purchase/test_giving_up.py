"""Open purchases that are not simply sent again: unneeded, foreign, contested or refused."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from student.errors import BadInput, VendorMisbehaved
from student.purchase.embedding_requests import EmbeddingRequest
from student.vendor.request import Item, purchase_key
from tests.support.ledger_vendor import model_facts, problem
from tests.support.open_purchases import OLD_MS, charge, leave_open_purchase, open_intents
from tests.support.purchase_setup import ACCOUNT, PurchaseSetup


async def test_a_paid_answer_outside_the_plan_is_kept(setup: PurchaseSetup) -> None:
    gone = setup.images(3, "gone")
    intent = leave_open_purchase(setup, gone)
    await charge(setup, gone, intent)
    end = await setup.buy(setup.images(2))
    assert (end.recovered, end.bought) == (3, 2)
    assert all(setup.paid(gone))
    setup.assert_cache_matches_ledger()


async def test_an_old_unneeded_purchase_is_abandoned_after_a_second_check(
    setup: PurchaseSetup, caplog: pytest.LogCaptureFixture
) -> None:
    intent = leave_open_purchase(setup, setup.images(3, "gone"), age_ms=OLD_MS)
    end = await setup.buy(setup.images(2), budget=5)
    looks = [seen for seen in setup.vendor.seen if intent.idempotency_key in seen.path]
    assert len(looks) == 2
    assert setup.clock.sleeps == [1.0]
    assert "abandoned: not all of its items are wanted any more" in caplog.text
    assert (end.open_purchases, setup.vendor.spent, open_intents(setup)) == (0, 2, [])


async def test_a_charge_that_appears_at_the_second_check_is_kept(setup: PurchaseSetup) -> None:
    gone = setup.images(3, "gone")
    intent = leave_open_purchase(setup, gone, age_ms=OLD_MS)
    looks = 0

    async def late(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.method == "GET":
            looks += 1
            if looks == 2:
                await charge(setup, gone, intent)
        return setup.vendor(request)

    setup.handler = late
    end = await setup.buy(setup.images(1))
    assert (end.recovered, all(setup.paid(gone))) == (3, True)
    setup.assert_cache_matches_ledger()


async def test_a_recent_purchase_of_a_client_that_may_be_running_is_left_alone(
    setup: PurchaseSetup,
) -> None:
    """Another process buys other items with the same cache: its reservation is kept."""
    intent = leave_open_purchase(setup, setup.images(3, "theirs"), age_ms=1000)
    end = await setup.buy(setup.images(4), budget=5)
    assert open_intents(setup) == [intent]
    assert (end.open_purchases, setup.vendor.spent, end.stop_reason) == (1, 2, "client budget")


async def test_an_open_purchase_of_another_account_is_left_alone_and_counted(
    setup: PurchaseSetup,
) -> None:
    theirs = leave_open_purchase(
        setup, setup.images(3), account="http://vendor.test:8000#otherkey", age_ms=OLD_MS
    )
    end = await setup.buy(setup.images(5), budget=5)
    assert open_intents(setup) == [theirs]
    assert (end.stop_reason, end.open_purchases, end.left_out, setup.vendor.spent) == (
        "waiting",
        1,
        3,
        2,
    )
    assert not any(theirs.idempotency_key in seen.path for seen in setup.vendor.seen)


async def test_the_vendor_may_have_moved_to_another_port(setup: PurchaseSetup) -> None:
    leave_open_purchase(setup, setup.images(3), account="http://localhost:54321#testkey")
    end = await setup.buy(setup.images(3))
    assert (end.bought, end.open_purchases, setup.vendor.spent) == (3, 0, 3)


async def test_a_purchase_of_the_former_model_is_not_sent_to_the_new_one(
    setup: PurchaseSetup,
) -> None:
    former = leave_open_purchase(setup, setup.images(3), age_ms=OLD_MS)
    setup.vendor.model = model_facts(weights="cd" * 32)
    end = await setup.buy(setup.images(2))
    assert former.idempotency_key not in {seen.idempotency_key for seen in setup.vendor.posts}
    assert (end.bought, open_intents(setup)) == (2, [])


async def test_a_paid_answer_of_the_former_model_is_kept_under_its_name(
    setup: PurchaseSetup,
) -> None:
    former = setup.images(3)
    intent = leave_open_purchase(setup, former)
    await charge(setup, former, intent)
    setup.vendor.model = model_facts(dim=16, weights="cd" * 32)
    end = await setup.buy(setup.images(3))
    assert (end.recovered, end.bought) == (3, 3)
    assert all(setup.paid(former))
    assert all(setup.paid(setup.images(3)))
    setup.assert_cache_matches_ledger()


async def test_a_purchase_whose_price_has_changed_is_not_sent_again(setup: PurchaseSetup) -> None:
    intent = leave_open_purchase(setup, setup.images(3), age_ms=OLD_MS)
    setup.vendor.price["units"] = {"image": 2, "text": 1}
    end = await setup.buy(setup.images(3), budget=5)
    assert intent.idempotency_key not in {seen.idempotency_key for seen in setup.vendor.posts}
    assert (end.bought, end.units, end.stop_reason) == (2, 4, "client budget")


async def test_of_two_open_purchases_of_one_item_only_the_earlier_is_sent(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(3)
    first = leave_open_purchase(setup, wanted[:2], run="one")
    second = leave_open_purchase(setup, wanted[1:], run="two")
    end = await setup.buy(wanted)
    keys = [post.idempotency_key for post in setup.vendor.posts]
    assert first.idempotency_key in keys
    assert second.idempotency_key not in keys
    assert (setup.vendor.spent, end.stop_reason) == (3, "complete")
    setup.assert_cache_matches_ledger()


async def test_an_invalid_stored_answer_stops_the_run_and_its_units_stay_counted(
    setup: PurchaseSetup,
) -> None:
    wanted = setup.images(3)
    intent = leave_open_purchase(setup, wanted)
    setup.vendor.lie = lambda body: body["data"].reverse()
    with pytest.raises(VendorMisbehaved):
        await charge(setup, wanted, intent)
    for _ in range(2):
        with pytest.raises(VendorMisbehaved, match=intent.idempotency_key):
            await setup.buy(setup.images(9))
    assert setup.vendor.spent == 3
    assert open_intents(setup) == [intent]


async def test_a_view_is_recovered_with_the_digest_of_what_is_rendered(
    setup: PurchaseSetup,
) -> None:
    def view(number: int) -> EmbeddingRequest:
        key = replace(setup.image("file").key, view=f"crop/1@64#{number}")
        return EmbeddingRequest(key=key, payload=lambda: f"pixels {number}".encode())

    wanted = [view(1), view(2)]
    intent = leave_open_purchase(setup, wanted)
    await charge(setup, wanted, intent)
    await setup.buy(wanted[:1])
    with PaidCache.open(setup.folder) as cache:
        known, lost = cache.get(wanted[0].key), cache.get(wanted[1].key)
    assert known is not None
    assert lost is not None
    assert known.sent_sha256 == Item(modality="image", payload=b"pixels 1").sha256
    assert lost.sent_sha256 == ""


async def test_a_key_reused_for_other_bytes_is_not_abandoned(setup: PurchaseSetup) -> None:
    """422 idempotency_key_reused means that the vendor knows the key: the paid answer is kept."""
    wanted = setup.images(2)
    intent = leave_open_purchase(setup, wanted)
    looks = 0

    async def raced(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.method == "POST":
            await charge(setup, wanted, intent)
            return problem(422, "idempotency_key_reused")
        return setup.vendor(request)

    setup.handler = raced
    end = await setup.buy(wanted)
    assert (end.bought, setup.vendor.spent) == (2, 2)
    setup.assert_cache_matches_ledger()


async def test_an_open_purchase_with_a_deleted_file_is_abandoned_once_it_is_old(
    setup: PurchaseSetup,
) -> None:
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    (wanted,) = setup.images(1)
    unreadable = EmbeddingRequest(key=wanted.key, payload=gone, name="bird.png")
    intent = leave_open_purchase(setup, [wanted])
    end = await setup.buy([unreadable])
    assert (end.stop_reason, open_intents(setup)) == ("waiting", [intent])
    setup.clock.now += OLD_MS / 1000
    with pytest.raises(BadInput, match=r"bird\.png"):
        await setup.buy([unreadable])
    assert (open_intents(setup), setup.vendor.spent) == ([], 0)


async def test_a_paid_view_whose_file_is_gone_is_kept(setup: PurchaseSetup) -> None:
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    key = replace(setup.image("file").key, view="crop/1@64#1")
    wanted = EmbeddingRequest(key=key, payload=lambda: b"pixels")
    intent = leave_open_purchase(setup, [wanted])
    await charge(setup, [wanted], intent)
    end = await setup.buy([EmbeddingRequest(key=key, payload=gone)])
    assert (end.recovered, end.stop_reason) == (1, "complete")
    setup.assert_cache_matches_ledger()


async def test_an_empty_account_ends_every_open_purchase_and_frees_its_units(
    setup: PurchaseSetup,
) -> None:
    first = leave_open_purchase(setup, setup.images(2), run="one")
    second = leave_open_purchase(setup, setup.images(2, "more"), run="two")
    setup.vendor.budget = 0
    end = await setup.buy([*setup.images(2), *setup.images(2, "more")])
    assert (end.stop_reason, open_intents(setup)) == ("vendor budget", [])
    setup.vendor.budget = 100
    await setup.buy([*setup.images(2), *setup.images(2, "more")])
    keys = [post.idempotency_key for post in setup.vendor.posts]
    assert (keys.count(first.idempotency_key), keys.count(second.idempotency_key)) == (1, 1)
    assert setup.vendor.spent == 4


def test_the_idempotency_key_depends_on_every_part_of_a_purchase() -> None:
    def key(**changes: object) -> str:
        facts: dict[str, object] = {
            "account": ACCOUNT,
            "model_fingerprint": "sha256:m",
            "digests": [b"a", b"b"],
            "epoch": "run-1",
        }
        return purchase_key(**(facts | changes))  # type: ignore[arg-type]

    others = [
        key(account="http://vendor.test:8000#other"),
        key(model_fingerprint="sha256:n"),
        key(digests=[b"b", b"a"]),
        key(digests=[b"a"]),
        key(epoch="run-2"),
    ]
    assert len({key(), *others}) == 6
    assert key() == key()
    assert key().isascii()
    assert len(key()) <= 255


def test_the_open_purchase_keeps_the_embedding_keys(setup: PurchaseSetup) -> None:
    intent = leave_open_purchase(setup, setup.images(2))
    (kept,) = open_intents(setup)
    assert kept == intent
    assert all(isinstance(key, EmbeddingKey) for key in kept.keys)
