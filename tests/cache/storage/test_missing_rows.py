"""Missing rows: found, restored free of charge, or written off."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache.errors import AnswerWrittenOff, InconsistentAnswer, ReceiptConflict
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Spend, WriteOff
from cache.records.receipt import Receipt
from cache.reports.markdown import markdown_report
from cache.reports.spend import spend_summary
from cache.storage import record_codec
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.row_codec import seal
from tests.support.cache_command import problems
from tests.support.cache_purchases import (
    ACCOUNT,
    NOON,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    tamper,
)


def lose_rows(folder: Path, *numbers: int) -> None:
    """Delete these rows from the database."""
    for number in numbers:
        assert tamper(folder, "DELETE FROM Cache WHERE key = ?", image(number).digest) == 1


def test_a_complete_cache_has_no_missing_rows(cache: PaidCache, receipt: Receipt) -> None:
    """Determined without reading a row."""
    assert receipt
    assert find_missing_rows(cache) == []


def test_a_purchase_with_missing_rows_is_found_with_their_keys(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """With its idempotency key, keys and order, so that the replay is free."""
    lose_rows(folder, 4)
    (lost,) = find_missing_rows(cache)
    assert lost.missing == images(4)
    assert lost.purchase.keys == images(3, 4)
    assert lost.purchase.receipt == receipt
    assert lost.purchase.intent.is_same_purchase(intent_of(*images(3, 4)))
    assert lost.purchase.intent.run == "run-1"


def test_a_free_replay_restores_the_rows(cache: PaidCache, receipt: Receipt, folder: Path) -> None:
    """Bit for bit, with the receipt that was there, and the spend as before."""
    before, spend = list(cache.rows()), cache.spend_on_record()
    lose_rows(folder, 3, 4)
    (lost,) = find_missing_rows(cache)
    rows = rows_of(lost.purchase.intent, receipt)
    assert cache.restore(lost.purchase, rows) == 2
    assert cache.restore(lost.purchase, rows) == 0
    assert find_missing_rows(cache) == []
    assert list(cache.rows()) == before
    assert cache.spend_on_record() == spend
    assert verify(cache).is_sound


def test_a_missing_row_bought_again_is_restored_too(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Both were paid for; the key itself is not missing."""
    buy(cache, ledger, *images(1, 2))
    second = buy(cache, ledger, *images(2, 3))
    tamper(folder, "DELETE FROM Cache WHERE tag = 'again'")
    (lost,) = find_missing_rows(cache)
    assert lost.missing == images(2)
    cache.restore(lost.purchase, rows_of(lost.purchase.intent, second))
    assert [row.request_id for row in cache.rows_bought_again()] == [second.request_id]
    assert verify(cache).is_sound


@pytest.mark.parametrize(
    ("states_digests", "reason"), [(False, "a different vector"), (True, "the digest that")]
)
def test_an_answer_that_contradicts_a_stored_row_is_not_restored(
    cache: PaidCache, ledger: Ledger, folder: Path, states_digests: bool, reason: str
) -> None:
    """The vendor answers differently now, or the rows are in another order than was sent."""
    ledger.states_digests = states_digests
    receipt = buy(cache, ledger, *images(3, 4))
    lose_rows(folder, 4)
    (lost,) = find_missing_rows(cache)
    first, second = rows_of(lost.purchase.intent, receipt)
    swapped = [replace(first, vector=second.vector), replace(second, vector=first.vector)]
    with pytest.raises(InconsistentAnswer, match=reason):
        cache.restore(lost.purchase, swapped)
    assert cache.missing(images(4)) == [image(4)]


def test_only_the_complete_answer_to_a_stored_receipt_is_restored(
    cache: PaidCache, receipt: Receipt, ledger: Ledger, folder: Path
) -> None:
    """Half of it, another receipt's or an unknown one's changes nothing."""
    lose_rows(folder, 4)
    (lost,) = find_missing_rows(cache)
    rows = rows_of(lost.purchase.intent, receipt)
    with pytest.raises(InconsistentAnswer, match="not those that were requested"):
        cache.restore(lost.purchase, rows[1:])
    other = rehashed(receipt, balance_units=7)
    with pytest.raises(ReceiptConflict):
        cache.restore(replace(lost.purchase, receipt=other), rows)
    unknown = ledger.charge(lost.purchase.intent)
    with pytest.raises(ReceiptConflict, match="no receipt"):
        cache.restore(
            replace(lost.purchase, receipt=unknown), rows_of(lost.purchase.intent, unknown)
        )
    assert cache.missing(images(4)) == [image(4)]


def test_a_purchase_with_unknown_keys_is_not_requested(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """A cache from before the second copy: verify still counts what is missing."""
    (folder / RECEIPTS).unlink()
    lose_rows(folder, 4)
    assert find_missing_rows(cache) == []
    assert problems(cache)[0][0] == record_codec.receipt_name(ACCOUNT, receipt.request_id)


def test_a_write_off_stays_counted_as_spent(cache: PaidCache) -> None:
    """The vendor charged it; the budget holds over it as over a receipt."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=3)
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    assert cache.open_intents() == []
    assert cache.spend_on_record() == Spend(written_off_units=2)
    assert cache.spend_on_record().committed_units == 2
    assert list(cache.write_offs()) == [
        WriteOff(
            idempotency_key=intent.idempotency_key,
            account=ACCOUNT,
            run="run-1",
            units=2,
            keys=images(1, 2),
            detail="purged",
            created_ms=NOON,
        )
    ]
    assert verify(cache).is_sound
    assert verify(cache).write_offs == 1


def test_a_purchase_is_written_off_once(cache: PaidCache) -> None:
    """And its key buys nothing any more."""
    intent = intent_of(*images(1, 2))
    for _ in range(2):
        cache.write_off(intent, account=ACCOUNT, detail="purged")
    assert cache.spend_on_record() == Spend(written_off_units=2)
    with pytest.raises(AnswerWrittenOff, match="purged") as caught:
        cache.reserve(intent, budget=10)
    assert caught.value.idempotency_key == intent.idempotency_key
    cache.reserve(intent_of(*images(1, 2), name="again"), budget=4)


def test_a_written_off_answer_that_comes_later_counts_once(
    cache: PaidCache, ledger: Ledger
) -> None:
    """The receipt replaces the write-off in the sums; the write-off's record stays."""
    intent = intent_of(*images(1, 2))
    receipt = ledger.charge(intent)
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)
    assert len(list(cache.write_offs())) == 1
    assert verify(cache).is_sound


def test_a_write_off_with_a_receipt_counts_once_and_is_not_requested(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Its rows are gone and the vendor has purged them: only buying them again helps."""
    spend = cache.spend_on_record()
    lose_rows(folder, 4)
    (lost,) = find_missing_rows(cache)
    cache.write_off(lost.purchase.intent, account=ACCOUNT, detail="purged")
    assert find_missing_rows(cache) == []
    assert cache.spend_on_record() == spend
    assert [name for name, _ in problems(cache)] == [
        record_codec.receipt_name(ACCOUNT, receipt.request_id)
    ]


def test_a_write_off_cannot_be_deleted_or_changed_by_hand(cache: PaidCache, folder: Path) -> None:
    """It counts as money, like a receipt; also in a file that an older program made."""
    cache.write_off(intent_of(image(1)), account=ACCOUNT, detail="purged")
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            connection.execute("DELETE FROM Cache WHERE tag = 'loss'")
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE Cache SET value = x'00' WHERE tag = 'loss'")


def test_a_damaged_write_off_is_named(cache: PaidCache, folder: Path) -> None:
    """Like any record."""
    intent = intent_of(image(1))
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    overwrite(folder, record_codec.write_off_name(intent.idempotency_key), b"rubbish")
    assert [name for name, _ in problems(cache)] == [
        record_codec.write_off_name(intent.idempotency_key),
        "totals",
    ]


def test_write_offs_are_in_the_reports(cache: PaidCache) -> None:
    """With the purchase and the reason."""
    cache.write_off(intent_of(image(1), name="k"), account=ACCOUNT, detail="purged")
    summary = spend_summary(cache)
    assert summary["lost_units"] == 1
    assert [(loss["idempotency_key"], loss["detail"]) for loss in summary["lost"]] == [
        ("k", "purged")
    ]
    assert "Written off: 1." in markdown_report(cache)


def test_totals_of_an_older_cache_have_no_write_offs(cache: PaidCache, folder: Path) -> None:
    """A record without that field is read, and written with it at the next change."""
    overwrite(
        folder,
        record_codec.TOTALS,
        seal({"receipt_units": 0, "in_flight_units": 0, "cost_micro_usd": 0}),
    )
    assert cache.spend_on_record() == Spend()
    cache.write_off(intent_of(image(1)), account=ACCOUNT, detail="purged")
    assert cache.spend_on_record() == Spend(written_off_units=1)


def test_a_vector_is_compared_in_bits(cache: PaidCache, receipt: Receipt, folder: Path) -> None:
    """Not nearly equal: equal."""
    lose_rows(folder, 4)
    (lost,) = find_missing_rows(cache)
    first, second = rows_of(lost.purchase.intent, receipt)
    nudged = replace(first, vector=np.nextafter(first.vector, np.float32(2)))
    with pytest.raises(InconsistentAnswer):
        cache.restore(lost.purchase, [nudged, second])
