"""Open purchases that are not simply sent again: unwanted, foreign, contested, refused."""

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
from tests.support.open_purchases import OLD_MS, charge, leave_intent, open_intents
from tests.support.purchase_setup import ACCOUNT, Shop


async def test_a_paid_answer_is_kept_though_nobody_wants_it_any_more(shop: Shop) -> None:
    gone = shop.images(3, "gone")
    intent = leave_intent(shop, gone)
    await charge(shop, gone, intent)
    end = await shop.buy(shop.images(2))
    assert (end.recovered, end.bought) == (3, 2)
    assert all(shop.paid(gone))
    shop.assert_books_balance()


async def test_an_old_purchase_that_nobody_wants_is_given_up_after_a_second_look(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    intent = leave_intent(shop, shop.images(3, "gone"), age_ms=OLD_MS)
    end = await shop.buy(shop.images(2), budget=5)
    looks = [seen for seen in shop.vendor.seen if intent.idempotency_key in seen.path]
    assert len(looks) == 2
    assert shop.clock.sleeps == [1.0]
    assert "abandoned: not all of its items are wanted any more" in caplog.text
    assert (end.open_purchases, shop.vendor.spent, open_intents(shop)) == (0, 2, [])


async def test_a_charge_that_shows_at_the_second_look_is_kept(shop: Shop) -> None:
    gone = shop.images(3, "gone")
    intent = leave_intent(shop, gone, age_ms=OLD_MS)
    looks = 0

    async def late(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.method == "GET":
            looks += 1
            if looks == 2:
                await charge(shop, gone, intent)
        return shop.vendor(request)

    shop.handler = late
    end = await shop.buy(shop.images(1))
    assert (end.recovered, all(shop.paid(gone))) == (3, True)
    shop.assert_books_balance()


async def test_a_young_purchase_of_a_client_that_may_live_is_left_alone(shop: Shop) -> None:
    """Another process shares the cache and wants other items: its reservation stands."""
    intent = leave_intent(shop, shop.images(3, "theirs"), age_ms=1000)
    end = await shop.buy(shop.images(4), budget=5)
    assert open_intents(shop) == [intent]
    assert (end.open_purchases, shop.vendor.spent, end.stop_reason) == (1, 2, "client budget")


async def test_an_open_purchase_of_another_account_is_left_alone_and_counted(shop: Shop) -> None:
    theirs = leave_intent(
        shop, shop.images(3), account="http://vendor.test:8000#otherkey", age_ms=OLD_MS
    )
    end = await shop.buy(shop.images(5), budget=5)
    assert open_intents(shop) == [theirs]
    assert (end.stop_reason, end.open_purchases, end.left_out, shop.vendor.spent) == (
        "waiting",
        1,
        3,
        2,
    )
    assert not any(theirs.idempotency_key in seen.path for seen in shop.vendor.seen)


async def test_the_vendor_may_have_moved_to_another_port(shop: Shop) -> None:
    leave_intent(shop, shop.images(3), account="http://localhost:54321#testkey")
    end = await shop.buy(shop.images(3))
    assert (end.bought, end.open_purchases, shop.vendor.spent) == (3, 0, 3)


async def test_a_purchase_of_the_former_model_is_not_sent_to_the_new_one(shop: Shop) -> None:
    former = leave_intent(shop, shop.images(3), age_ms=OLD_MS)
    shop.vendor.model = model_facts(weights="cd" * 32)
    end = await shop.buy(shop.images(2))
    assert former.idempotency_key not in {seen.idempotency_key for seen in shop.vendor.posts}
    assert (end.bought, open_intents(shop)) == (2, [])


async def test_a_paid_answer_of_the_former_model_is_kept_under_its_name(shop: Shop) -> None:
    former = shop.images(3)
    intent = leave_intent(shop, former)
    await charge(shop, former, intent)
    shop.vendor.model = model_facts(dim=16, weights="cd" * 32)
    end = await shop.buy(shop.images(3))
    assert (end.recovered, end.bought) == (3, 3)
    assert all(shop.paid(former))
    assert all(shop.paid(shop.images(3)))
    shop.assert_books_balance()


async def test_a_purchase_whose_price_has_changed_is_not_sent_again(shop: Shop) -> None:
    intent = leave_intent(shop, shop.images(3), age_ms=OLD_MS)
    shop.vendor.price["units"] = {"image": 2, "text": 1}
    end = await shop.buy(shop.images(3), budget=5)
    assert intent.idempotency_key not in {seen.idempotency_key for seen in shop.vendor.posts}
    assert (end.bought, end.units, end.stop_reason) == (2, 4, "client budget")


async def test_of_two_open_purchases_of_one_item_only_the_earlier_is_sent(shop: Shop) -> None:
    wanted = shop.images(3)
    first = leave_intent(shop, wanted[:2], run="one")
    second = leave_intent(shop, wanted[1:], run="two")
    end = await shop.buy(wanted)
    keys = [post.idempotency_key for post in shop.vendor.posts]
    assert first.idempotency_key in keys
    assert second.idempotency_key not in keys
    assert (shop.vendor.spent, end.stop_reason) == (3, "complete")
    shop.assert_books_balance()


async def test_a_stored_lie_stops_the_run_and_stays_counted(shop: Shop) -> None:
    wanted = shop.images(3)
    intent = leave_intent(shop, wanted)
    shop.vendor.lie = lambda body: body["data"].reverse()
    with pytest.raises(VendorMisbehaved):
        await charge(shop, wanted, intent)
    for _ in range(2):
        with pytest.raises(VendorMisbehaved, match=intent.idempotency_key):
            await shop.buy(shop.images(9))
    assert shop.vendor.spent == 3
    assert open_intents(shop) == [intent]


async def test_a_view_is_recovered_with_the_digest_of_what_is_rendered(shop: Shop) -> None:
    def view(number: int) -> EmbeddingRequest:
        key = replace(shop.image("file").key, view=f"crop/1@64#{number}")
        return EmbeddingRequest(key=key, payload=lambda: f"pixels {number}".encode())

    wanted = [view(1), view(2)]
    intent = leave_intent(shop, wanted)
    await charge(shop, wanted, intent)
    await shop.buy(wanted[:1])
    with PaidCache.open(shop.folder) as cache:
        known, lost = cache.get(wanted[0].key), cache.get(wanted[1].key)
    assert known is not None
    assert lost is not None
    assert known.sent_sha256 == Item(modality="image", payload=b"pixels 1").sha256
    assert lost.sent_sha256 == ""


async def test_a_key_reused_for_other_bytes_is_never_given_up_blindly(shop: Shop) -> None:
    """422 idempotency_key_reused means that the vendor knows the key: the paid answer is kept."""
    wanted = shop.images(2)
    intent = leave_intent(shop, wanted)
    looks = 0

    async def raced(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.method == "POST":
            await charge(shop, wanted, intent)
            return problem(422, "idempotency_key_reused")
        return shop.vendor(request)

    shop.handler = raced
    end = await shop.buy(wanted)
    assert (end.bought, shop.vendor.spent) == (2, 2)
    shop.assert_books_balance()


async def test_an_open_purchase_whose_file_is_gone_waits_for_its_time_and_then_goes(
    shop: Shop,
) -> None:
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    (wanted,) = shop.images(1)
    unreadable = EmbeddingRequest(key=wanted.key, payload=gone, name="bird.png")
    intent = leave_intent(shop, [wanted])
    end = await shop.buy([unreadable])
    assert (end.stop_reason, open_intents(shop)) == ("waiting", [intent])
    shop.clock.now += OLD_MS / 1000
    with pytest.raises(BadInput, match=r"bird\.png"):
        await shop.buy([unreadable])
    assert (open_intents(shop), shop.vendor.spent) == ([], 0)


async def test_a_paid_view_whose_file_is_gone_is_kept(shop: Shop) -> None:
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    key = replace(shop.image("file").key, view="crop/1@64#1")
    wanted = EmbeddingRequest(key=key, payload=lambda: b"pixels")
    intent = leave_intent(shop, [wanted])
    await charge(shop, [wanted], intent)
    end = await shop.buy([EmbeddingRequest(key=key, payload=gone)])
    assert (end.recovered, end.stop_reason) == (1, "complete")
    shop.assert_books_balance()


async def test_an_empty_account_ends_every_open_purchase_and_frees_its_units(shop: Shop) -> None:
    first = leave_intent(shop, shop.images(2), run="one")
    second = leave_intent(shop, shop.images(2, "more"), run="two")
    shop.vendor.budget = 0
    end = await shop.buy([*shop.images(2), *shop.images(2, "more")])
    assert (end.stop_reason, open_intents(shop)) == ("vendor budget", [])
    shop.vendor.budget = 100
    await shop.buy([*shop.images(2), *shop.images(2, "more")])
    keys = [post.idempotency_key for post in shop.vendor.posts]
    assert (keys.count(first.idempotency_key), keys.count(second.idempotency_key)) == (1, 1)
    assert shop.vendor.spent == 4


def test_the_key_of_a_purchase_depends_on_all_that_makes_it_one() -> None:
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


def test_an_embedding_key_is_what_the_journal_keeps(shop: Shop) -> None:
    intent = leave_intent(shop, shop.images(2))
    (kept,) = open_intents(shop)
    assert kept == intent
    assert all(isinstance(key, EmbeddingKey) for key in kept.keys)
