"""Committing a paid answer: all or nothing, once, for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache.errors import (
    CorruptRow,
    InconsistentAnswer,
    ReceiptConflict,
)
from cache.integrity.verify import verify
from cache.paid_cache import Intent, PaidCache, PaidEmbedding, Spend
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.receipt import Receipt
from cache.storage.database import StoredRecord
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    altered,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    tamper,
    vector_of,
)


def contents(cache: PaidCache) -> list[StoredRecord]:
    """Everything in the file but the clock of the last write."""
    return list(cache.scan_all())


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


def test_a_paid_answer_is_stored_even_if_its_purchase_is_not_open(
    cache: PaidCache, ledger: Ledger
) -> None:
    """It is charged, even if another process abandoned the purchase."""
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.get(image(1)) is not None
    assert cache.spend_on_record() == Spend(receipt_units=1, cost_micro_usd=100)


def test_the_receipt_s_price_counts_and_not_the_quoted_one(
    cache: PaidCache, ledger: Ledger
) -> None:
    """What was reserved is released in full, what was charged is added."""
    intent = intent_of(*images(1, 2), units=4)
    cache.reserve(intent, budget=4)
    receipt = rehashed(ledger.charge(intent), units=2, cost_micro_usd=150)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=150)


def test_an_embedding_bought_twice_is_kept_twice(cache: PaidCache, ledger: Ledger) -> None:
    """Two processes bought it at the same time: both were charged, and both receipts count."""
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
    """The damaged row does not show who bought it, and it is evidence: it stays."""
    buy(cache, ledger, image(1))
    overwrite(folder, image(1).digest, b"rubbish")
    again = buy(cache, ledger, image(1), name="again")
    assert [row.request_id for row in cache.rows_bought_again()] == [again.request_id]
    with pytest.raises(CorruptRow):
        cache.get(image(1))


def test_a_replayed_answer_restores_missing_rows(
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
        "a different idempotency key",
    ),
    "row missing": (lambda a: (a[0], a[1][:1], a[2]), "not those that were requested"),
    "row twice": (lambda a: (a[0], [a[1][0]] * 2, a[2]), "not those that were requested"),
    "row of another request": (
        lambda a: (a[0], [a[1][0], replace(a[1][1], request_id="req_9")], a[2]),
        "a row belongs to a different request",
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
    """All or nothing; the purchase stays open, so that it can be requested again."""
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


def test_a_receipt_without_an_account_is_not_stored(cache: PaidCache, ledger: Ledger) -> None:
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
    misshapen = [vector_of(image(1)), np.zeros((2, 2), np.float32)]
    receipt = ledger.charge(intent, embeddings_sha256=embeddings_sha256(misshapen))
    rows = rows_of(intent, receipt)
    rows[1] = replace(rows[1], vector=misshapen[1])
    before = contents(cache)
    with pytest.raises(ValueError, match="float32 vector"):
        cache.commit(intent, rows, receipt, account=ACCOUNT)
    assert contents(cache) == before


def test_a_purchase_under_a_model_that_changed_meanwhile_is_kept_under_the_new_name(
    cache: PaidCache, ledger: Ledger
) -> None:
    """The purchase named the old model; it is settled all the same, and nothing is mixed."""
    intent = intent_of(image(1), name="changed")
    cache.reserve(intent, budget=1)
    changed = replace(intent, keys=(image(1, fingerprint="sha256:new"),))
    receipt = ledger.charge(changed)
    cache.commit(changed, rows_of(changed, receipt), receipt, account=ACCOUNT)
    assert cache.open_intents() == []
    assert cache.missing([*intent.keys, *changed.keys]) == list(intent.keys)
    assert verify(cache).is_sound
