"""Reserving, committing and abandoning purchases."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.errors import (
    AlreadyPaid,
    CacheError,
    ClientBudgetExceeded,
    CorruptRow,
    InconsistentAnswer,
    IntentConflict,
    ReceiptConflict,
)
from cache.journal import Tag
from cache.paid import Intent, PaidCache, PaidEmbedding, Refusal, Spend, now_ms
from cache.receipt import Receipt
from cache.records import StoredRecord
from cache.verify import verify
from tests.cache.purchases import (
    ACCOUNT,
    FINGERPRINT,
    NOON,
    Ledger,
    altered,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    run_record,
    tamper,
    text,
    vector_of,
)


def contents(cache: PaidCache) -> list[StoredRecord]:
    """Everything in the file but the clock of the last write."""
    return list(cache.scan_all())


def test_what_was_bought_is_there_when_the_cache_is_opened_again(
    folder: Path, ledger: Ledger
) -> None:
    """Vector, receipt and spend, bit by bit."""
    with PaidCache.open(folder) as cache:
        receipt = buy(cache, ledger, image(1), text("a cat"))
    with PaidCache.open(folder) as cache:
        found = cache.get(image(1))
        assert found is not None
        assert found.vector.tobytes() == vector_of(image(1)).tobytes()
        assert found.request_id == receipt.request_id
        assert list(cache.receipts()) == [receipt]
        assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)


def test_a_second_run_finds_nothing_missing(cache: PaidCache, ledger: Ledger) -> None:
    """And so buys nothing."""
    buy(cache, ledger, *images(1, 2, 3))
    assert cache.missing(images(1, 2, 3)) == []


def test_missing_keys_are_named_once_in_the_order_in_which_they_were_seen(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A purchase is planned from them."""
    buy(cache, ledger, *images(2, 4))
    wanted = images(5, 4, 3, 5, 2, 1, 3)
    assert cache.missing(iter(wanted)) == list(images(5, 3, 1))


def test_more_keys_than_sqlite_takes_in_one_query_can_be_asked_for(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A plan has tens of thousands."""
    buy(cache, ledger, *images(*range(0, 1200, 2)))
    assert cache.missing(images(*range(1200))) == list(images(*range(1, 1200, 2)))
    assert cache.fetch(images(*range(1200))).keys() == set(images(*range(0, 1200, 2)))


def test_nothing_is_missing_of_nothing(cache: PaidCache) -> None:
    """No keys, no query."""
    assert cache.missing([]) == []
    assert cache.fetch([]) == {}
    assert cache.refused([]) == {}


def test_an_embedding_that_was_never_bought_is_none(cache: PaidCache) -> None:
    """None, not an error: it can be bought."""
    assert cache.get(image(1)) is None


def test_another_view_or_model_of_a_bought_image_is_missing(
    cache: PaidCache, ledger: Ledger
) -> None:
    """It is another embedding."""
    buy(cache, ledger, image(1))
    others = [image(1, view="crop/1@64#1"), image(1, fingerprint="sha256:other")]
    assert cache.missing(others) == others


def test_an_open_intent_survives_until_it_is_settled(folder: Path) -> None:
    """It is journalled before the send, so that a killed client can ask again."""
    intent = intent_of(image(1), text("a"), run="run-7")
    with PaidCache.open(folder) as cache:
        cache.reserve(intent, budget=2)
    with PaidCache.open(folder) as cache:
        assert cache.open_intents() == [intent]
        assert cache.spend_on_record() == Spend(in_flight_units=2)


def test_the_last_unit_of_the_budget_can_be_used_and_not_one_more(
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


def test_reserving_an_open_intent_again_changes_nothing(cache: PaidCache) -> None:
    """Even when the budget is full of it, and from another run."""
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
    """The vendor would refuse the second, or worse, answer the first."""
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


def test_an_abandoned_purchase_gives_its_units_back(cache: PaidCache) -> None:
    """The vendor has said that it did not charge."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=2)
    cache.abandon(intent.idempotency_key)
    assert (cache.open_intents(), cache.spend_on_record()) == ([], Spend())
    cache.reserve(intent, budget=2)


def test_abandoning_twice_or_nothing_changes_nothing(cache: PaidCache) -> None:
    """Units are given back once."""
    kept, dropped = intent_of(image(1)), intent_of(image(2))
    cache.reserve(kept, budget=2)
    cache.reserve(dropped, budget=2)
    cache.abandon(dropped.idempotency_key)
    before = contents(cache)
    cache.abandon(dropped.idempotency_key)
    cache.abandon("never heard of")
    assert contents(cache) == before
    assert cache.spend_on_record().in_flight_units == 1


def test_a_finished_purchase_cannot_be_abandoned(cache: PaidCache, ledger: Ledger) -> None:
    """What was paid for stays."""
    receipt = buy(cache, ledger, image(1))
    cache.abandon(receipt.idempotency_key)
    assert cache.spend_on_record().receipt_units == 1
    assert cache.get(image(1)) is not None


def test_committing_the_same_receipt_twice_changes_nothing(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A replayed answer is the same purchase."""
    intent = intent_of(*images(1, 2))
    receipt = buy(cache, ledger, *intent.keys)
    before = contents(cache)
    for run in ("run-1", "run-2"):
        again = replace(intent, run=run)
        cache.commit(again, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert contents(cache) == before


def test_another_receipt_under_the_same_request_id_raises(cache: PaidCache, ledger: Ledger) -> None:
    """Receipts never change once they are stored."""
    intent = intent_of(image(1))
    receipt = buy(cache, ledger, image(1))
    before = contents(cache)
    for forged in (rehashed(receipt, units=2), rehashed(receipt, region="eu")):
        with pytest.raises(ReceiptConflict, match=receipt.request_id):
            cache.commit(intent, rows_of(intent, forged), forged, account=ACCOUNT)
    assert contents(cache) == before


def test_two_accounts_may_use_the_same_request_id(cache: PaidCache) -> None:
    """They are lines of different ledgers."""
    buy(cache, Ledger(), image(1), account="http://a#k1", name="a")
    buy(cache, Ledger(), image(2), account="http://b#k2", name="b")
    assert [stored.account for stored in cache.stored_receipts()] == ["http://a#k1", "http://b#k2"]
    assert len({receipt.request_id for receipt in cache.receipts()}) == 1


def test_a_paid_answer_is_kept_even_without_its_intent(cache: PaidCache, ledger: Ledger) -> None:
    """The money is gone, whoever abandoned the intent meanwhile."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.get(image(1)) is not None
    assert cache.spend_on_record() == Spend(receipt_units=1, cost_micro_usd=100)


def test_the_vendor_s_price_counts_not_the_quote(cache: PaidCache, ledger: Ledger) -> None:
    """What was reserved is released in full, what was charged is added."""
    intent = intent_of(*images(1, 2), units=4)
    cache.reserve(intent, budget=4)
    receipt = rehashed(ledger.charge(intent), units=2, cost_micro_usd=150)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=150)


def test_an_embedding_bought_twice_is_kept_twice(cache: PaidCache, ledger: Ledger) -> None:
    """Two processes raced: both were charged, and the books must say so."""
    first, second = intent_of(*images(1, 2)), intent_of(*images(2, 3))
    for intent in (first, second):
        cache.reserve(intent, budget=10)
    receipts = [ledger.charge(intent) for intent in (first, second)]
    for intent, receipt in zip((first, second), receipts, strict=True):
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    found = cache.get(image(2))
    assert found is not None
    assert found.request_id == receipts[0].request_id
    assert [row.request_id for row in cache.rows_bought_again()] == [receipts[1].request_id]
    assert verify(cache).is_sound
    before = contents(cache)
    cache.commit(second, rows_of(second, receipts[1]), receipts[1], account=ACCOUNT)
    assert contents(cache) == before


def test_a_charge_beside_a_damaged_row_is_kept(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The damaged row cannot say who bought it, and is evidence: it stays."""
    buy(cache, ledger, image(1))
    overwrite(folder, image(1).digest, b"rubbish")
    again = buy(cache, ledger, image(1), name="again")
    assert [row.request_id for row in cache.rows_bought_again()] == [again.request_id]
    with pytest.raises(CorruptRow):
        cache.get(image(1))


def test_a_replayed_answer_puts_back_rows_that_are_gone(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """And charges nothing: its receipt is known."""
    intent = intent_of(*images(1, 2))
    receipt = buy(cache, ledger, *intent.keys)
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(2).digest)
    assert cache.missing(intent.keys) == [image(2)]
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.missing(intent.keys) == []
    assert cache.spend_on_record().receipt_units == 2
    assert verify(cache).is_sound


Answer = tuple[Intent, list[PaidEmbedding], Receipt]
WRONG: dict[str, tuple[Callable[[Answer], Answer], str]] = {
    "forged": (lambda a: (a[0], a[1], altered(a[2], units=9)), "hash is not the hash"),
    "grant": (lambda a: (a[0], a[1], rehashed(a[2], kind="grant")), "a grant, not a charge"),
    "other purchase": (
        lambda a: (a[0], a[1], rehashed(a[2], idempotency_key="x")),
        "another idempotency key",
    ),
    "row missing": (lambda a: (a[0], a[1][:1], a[2]), "not those that were asked for"),
    "row twice": (lambda a: (a[0], [a[1][0]] * 2, a[2]), "not those that were asked for"),
    "row of another request": (
        lambda a: (a[0], [a[1][0], replace(a[1][1], request_id="req_9")], a[2]),
        "a row is of another request",
    ),
    "too many images": (
        lambda a: (a[0], a[1], rehashed(a[2], images=3)),
        "charges 3 images and 0 texts",
    ),
    "texts for images": (
        lambda a: (a[0], a[1], rehashed(a[2], images=0, texts=2)),
        "charges 0 images and 2 texts",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_whose_parts_do_not_belong_together_is_not_stored(
    cache: PaidCache, ledger: Ledger, name: str
) -> None:
    """All or nothing; the intent stays open, so that the vendor can be asked again."""
    change, reason = WRONG[name]
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=2)
    receipt = ledger.charge(intent)
    before = contents(cache)
    wrong = change((intent, rows_of(intent, receipt), receipt))
    with pytest.raises(InconsistentAnswer, match=reason) as caught:
        cache.commit(*wrong, account=ACCOUNT)
    assert "stays open" in str(caught.value)
    assert contents(cache) == before


def test_a_receipt_of_nobody_s_account_is_not_stored(cache: PaidCache, ledger: Ledger) -> None:
    """It could never be audited."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    with pytest.raises(InconsistentAnswer, match="no account"):
        cache.commit(intent, rows_of(intent, receipt), receipt, account="")


def test_a_vector_that_cannot_be_stored_leaves_nothing_behind(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Not even the rows before it."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=2)
    receipt = ledger.charge(intent)
    rows = rows_of(intent, receipt)
    rows[1] = replace(rows[1], vector=np.zeros((2, 2), np.float32))
    before = contents(cache)
    with pytest.raises(ValueError, match="float32 vector"):
        cache.commit(intent, rows, receipt, account=ACCOUNT)
    assert contents(cache) == before


@pytest.mark.parametrize(
    "change",
    [{"keys": ()}, {"keys": images(1, 1)}, {"idempotency_key": ""}, {"units": -1}],
    ids=str,
)
def test_an_intent_that_makes_no_sense_cannot_be_made(change: dict[str, Any]) -> None:
    """Nothing asked for, the same asked for twice, no name, or a negative price."""
    with pytest.raises(ValueError, match="an intent"):
        replace(intent_of(image(1)), **change)


def test_a_refused_item_is_remembered_with_the_reason(cache: PaidCache) -> None:
    """And not asked for again; the first reason stays."""
    cache.refuse(image(1), code="invalid_image", detail="truncated")
    cache.refuse(image(1), code="image_too_large", detail="later")
    expected = Refusal(key=image(1), code="invalid_image", detail="truncated", created_ms=NOON)
    assert cache.refused(images(1, 2)) == {image(1): expected}
    assert list(cache.refusals()) == [expected]
    assert cache.spend_on_record() == Spend()


def test_runs_are_kept_and_a_run_s_last_word_counts(cache: PaidCache) -> None:
    """Recorded at the start with the plan, at the end with the outcome."""
    cache.record_run(run_record("run-1", bought_units=0))
    cache.record_run(run_record("run-2"))
    cache.record_run(run_record("run-1", bought_units=6))
    assert list(cache.runs()) == [run_record("run-1"), run_record("run-2")]
    assert run_record().saved_micro_usd == 400


def test_totals_that_are_gone_are_counted_again_when_the_cache_is_opened(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """A budget is never computed from nothing."""
    buy(cache, ledger, *images(1, 2))
    cache.reserve(intent_of(image(3)), budget=10)
    spend = cache.spend_on_record()
    tamper(folder, "DELETE FROM Cache WHERE tag = ?", Tag.TOTALS.value)
    with PaidCache.open(folder) as again:
        assert again.spend_on_record() == spend
        assert verify(again).is_sound


def test_a_cache_without_totals_can_still_be_read(cache: PaidCache, folder: Path) -> None:
    """A reader makes none up."""
    tamper(folder, "DELETE FROM Cache WHERE tag = ?", Tag.TOTALS.value)
    assert cache.spend_on_record() == Spend()


def test_a_row_filed_under_a_name_is_no_row(cache: PaidCache, ledger: Ledger, folder: Path) -> None:
    """Rows are filed under their digests."""
    buy(cache, ledger, image(1))
    tamper(folder, "UPDATE Cache SET key = 'x' WHERE tag = 'row'")
    with pytest.raises(CorruptRow, match="stored record x is corrupt"):
        list(cache.rows())


def test_a_purchase_under_a_model_that_changed_meanwhile_is_kept_under_the_new_name(
    cache: PaidCache, ledger: Ledger
) -> None:
    """The intent named the old one; it is settled all the same, and nothing is mixed."""
    intent = intent_of(image(1), name="changed")
    cache.reserve(intent, budget=1)
    changed = replace(intent, keys=(image(1, fingerprint="sha256:new"),))
    receipt = ledger.charge(changed)
    cache.commit(changed, rows_of(changed, receipt), receipt, account=ACCOUNT)
    assert cache.open_intents() == []
    assert cache.missing([*intent.keys, *changed.keys]) == list(intent.keys)
    assert verify(cache).is_sound


def test_damaged_totals_stop_the_spending(cache: PaidCache, folder: Path) -> None:
    """A wrong remainder would overspend."""
    overwrite(folder, "totals", b"rubbish")
    with pytest.raises(CorruptRow, match="totals"):
        cache.reserve(intent_of(image(1)), budget=10)


def test_the_folder_is_private(tmp_path: Path) -> None:
    """Also when it was there before and open to others."""
    for folder in (tmp_path / "deep" / "new", tmp_path / "old"):
        if folder.name == "old":
            folder.mkdir(mode=0o755)
        PaidCache.open(folder).close()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_rows_come_in_the_order_in_which_they_were_bought(cache: PaidCache, ledger: Ledger) -> None:
    """One scan of the file."""
    buy(cache, ledger, *images(3, 1))
    buy(cache, ledger, *images(2))
    assert [row.key for row in cache.rows()] == list(images(3, 1, 2))


def test_a_cache_can_be_opened_twice_in_one_process(folder: Path, ledger: Ledger) -> None:
    """What one has committed the other sees at once."""
    with PaidCache.open(folder) as one, PaidCache.open(folder) as other:
        buy(one, ledger, image(1))
        assert other.missing(images(1, 2)) == [image(2)]
        assert other.spend_on_record().receipt_units == 1


def test_every_error_is_a_cache_error() -> None:
    """A command line has one root to catch."""
    for error in (AlreadyPaid, ClientBudgetExceeded, CorruptRow, InconsistentAnswer):
        assert issubclass(error, CacheError)


def test_the_clock_is_in_milliseconds() -> None:
    """As on the wire."""
    assert 1_700_000_000_000 < now_ms() < 10_000_000_000_000
    assert FINGERPRINT.startswith("sha256:")
