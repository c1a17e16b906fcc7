"""Reserving and abandoning: what may still be spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.errors import (
    AlreadyPaid,
    ClientBudgetExceeded,
    CorruptRow,
    IntentConflict,
)
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Spend
from cache.storage.database import StoredRecord
from cache.storage.record_codec import Tag
from tests.support.cache_purchases import (
    NOON,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    tamper,
    text,
)


def contents(cache: PaidCache) -> list[StoredRecord]:
    """Everything in the file but the clock of the last write."""
    return list(cache.scan_all())


def test_a_purchase_stays_open_until_it_is_settled(folder: Path) -> None:
    """It is journalled before the send, so that a killed client can ask again."""
    intent = intent_of(image(1), text("a"), run="run-7")
    with PaidCache.open(folder) as cache:
        cache.reserve(intent, budget=2)
    with PaidCache.open(folder) as cache:
        assert cache.open_intents() == [intent]
        assert cache.spend_on_record() == Spend(open_units=2)


def test_the_budget_can_be_spent_to_its_last_query_and_no_further(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Receipts and open intents count alike."""
    buy(cache, ledger, *images(1, 2), budget=4)
    cache.reserve(intent_of(image(3)), budget=4)
    with pytest.raises(ClientBudgetExceeded) as caught:
        cache.reserve(intent_of(*images(4, 5)), budget=4)
    assert (caught.value.needed, caught.value.remaining) == (2, 1)
    assert "needs 2 queries" in str(caught.value)
    cache.reserve(intent_of(image(4)), budget=4)
    with pytest.raises(ClientBudgetExceeded) as caught:
        cache.reserve(intent_of(image(5)), budget=4)
    assert caught.value.remaining == 0


def test_a_budget_below_what_was_already_spent_leaves_nothing(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Never a negative remainder."""
    buy(cache, ledger, *images(1, 2, 3))
    with pytest.raises(ClientBudgetExceeded) as caught:
        cache.reserve(intent_of(image(4)), budget=1)
    assert caught.value.remaining == 0


def test_a_refused_reservation_leaves_no_trace(cache: PaidCache) -> None:
    """Nothing was sent, so nothing is open."""
    before = contents(cache)
    with pytest.raises(ClientBudgetExceeded):
        cache.reserve(intent_of(image(1)), budget=0)
    assert contents(cache) == before


def test_reserving_an_open_purchase_again_changes_nothing(cache: PaidCache) -> None:
    """Even if it uses the whole budget, and from another run."""
    intent = intent_of(image(1))
    cache.reserve(intent, budget=1)
    before = contents(cache)
    cache.reserve(replace(intent, run="run-2", created_ms=NOON + 1), budget=1)
    assert contents(cache) == before


@pytest.mark.parametrize(
    "change", [{"keys": images(2)}, {"keys": images(1, 2)}, {"units": 2}], ids=str
)
def test_one_idempotency_key_cannot_name_two_purchases(
    cache: PaidCache, change: dict[str, Any]
) -> None:
    """The vendor would refuse the second purchase or, worse, replay the first."""
    intent = intent_of(image(1))
    cache.reserve(intent, budget=10)
    with pytest.raises(IntentConflict, match=intent.idempotency_key):
        cache.reserve(replace(intent, **change), budget=10)
    assert cache.open_intents() == [intent]


def test_a_finished_purchase_cannot_be_reserved_again(cache: PaidCache, ledger: Ledger) -> None:
    """A vendor that has forgotten the key would charge for it a second time."""
    receipt = buy(cache, ledger, image(1))
    with pytest.raises(AlreadyPaid, match=receipt.request_id):
        cache.reserve(intent_of(image(1)), budget=10)
    assert cache.spend_on_record() == Spend(receipt_units=1, cost_micro_usd=100)


def test_an_abandoned_purchase_frees_its_queries(cache: PaidCache) -> None:
    """The vendor confirmed that it did not charge."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=2)
    cache.abandon(intent.idempotency_key)
    assert (cache.open_intents(), cache.spend_on_record()) == ([], Spend())
    cache.reserve(intent, budget=2)


def test_abandoning_twice_or_nothing_changes_nothing(cache: PaidCache) -> None:
    """Units are released once."""
    kept, dropped = intent_of(image(1)), intent_of(image(2))
    cache.reserve(kept, budget=2)
    cache.reserve(dropped, budget=2)
    cache.abandon(dropped.idempotency_key)
    before = contents(cache)
    cache.abandon(dropped.idempotency_key)
    cache.abandon("never heard of")
    assert contents(cache) == before
    assert cache.spend_on_record().open_units == 1


def test_a_finished_purchase_cannot_be_abandoned(cache: PaidCache, ledger: Ledger) -> None:
    """What was paid for stays."""
    receipt = buy(cache, ledger, image(1))
    cache.abandon(receipt.idempotency_key)
    assert cache.spend_on_record().receipt_units == 1
    assert cache.get(image(1)) is not None


@pytest.mark.parametrize(
    "change",
    [{"keys": ()}, {"keys": images(1, 1)}, {"idempotency_key": ""}, {"units": -1}],
    ids=str,
)
def test_an_invalid_purchase_is_rejected(change: dict[str, Any]) -> None:
    """No keys, a repeated key, no idempotency key, or a negative price."""
    with pytest.raises(ValueError, match="a purchase"):
        replace(intent_of(image(1)), **change)


def test_missing_totals_are_counted_when_the_cache_is_opened(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """A budget is never computed without totals."""
    buy(cache, ledger, *images(1, 2))
    cache.reserve(intent_of(image(3)), budget=10)
    spend = cache.spend_on_record()
    tamper(folder, "DELETE FROM Cache WHERE tag = ?", Tag.TOTALS.value)
    with PaidCache.open(folder) as again:
        assert again.spend_on_record() == spend
        assert verify(again).is_sound


def test_a_cache_without_totals_can_still_be_read(cache: PaidCache, folder: Path) -> None:
    """A reader does not invent totals."""
    tamper(folder, "DELETE FROM Cache WHERE tag = ?", Tag.TOTALS.value)
    assert cache.spend_on_record() == Spend()


def test_damaged_totals_stop_purchases(cache: PaidCache, folder: Path) -> None:
    """With a wrong remainder, too much would be spent."""
    overwrite(folder, "totals", b"rubbish")
    with pytest.raises(CorruptRow, match="totals"):
        cache.reserve(intent_of(image(1)), budget=10)
