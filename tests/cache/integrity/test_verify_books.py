"""Whether receipts, totals and rows of a cache still belong together."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Spend
from cache.records.receipt import Receipt
from cache.storage import record_codec
from cache.storage.row_codec import encode_row
from tests.support.cache_command import problems, store_receipt
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
)


def test_an_altered_receipt_with_a_valid_checksum_is_found_by_its_hash(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The hash is the vendor's."""
    store_receipt(folder, altered(receipt, price_version="other"), at=receipt)
    assert problems(cache) == [
        (
            record_codec.receipt_name(ACCOUNT, receipt.request_id),
            "its hash is not the hash of its fields",
        )
    ]


def test_a_forged_receipt_with_a_right_hash_breaks_its_account_s_chain(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Its neighbour still holds the old hash, and so does the second copy."""
    first = next(cache.receipts())
    store_receipt(folder, rehashed(first, price_version="other"), at=first)
    assert problems(cache) == [
        (
            record_codec.receipt_name(ACCOUNT, receipt.request_id),
            f"its prev_hash is not the hash of seq {first.seq}",
        ),
        (
            record_codec.receipt_name(ACCOUNT, first.request_id),
            "receipts.jsonl has a different receipt for it",
        ),
    ]


def test_a_gap_in_the_chain_is_allowed(cache: PaidCache, ledger: Ledger) -> None:
    """Grants, corrections and other clients' charges are not in this cache."""
    buy(cache, ledger, image(1))
    ledger.charge(intent_of(image(50)))
    buy(cache, ledger, image(2))
    assert verify(cache).is_sound


def test_chains_of_two_accounts_are_not_mixed(cache: PaidCache) -> None:
    """Each ledger counts from one."""
    buy(cache, Ledger(), image(1), account="http://a#k1", name="a")
    buy(cache, Ledger(granted=7), image(2), account="http://b#k2", name="b")
    assert verify(cache).is_sound


def test_two_receipts_with_one_sequence_number_are_found(cache: PaidCache) -> None:
    """A vendor that gives one sequence number twice is cheating or broken."""
    buy(cache, Ledger(), image(1), name="a")
    intent = intent_of(image(2), name="b")
    receipt = rehashed(Ledger().charge(intent), request_id="req_other")
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    ((name, detail),) = problems(cache)
    assert name.endswith("req_other")
    assert detail == "request req_0002 has the same seq 2"


def test_a_purchase_charged_twice_is_found(cache: PaidCache, ledger: Ledger) -> None:
    """The vendor forgot an idempotency key; both receipts are kept, because both were paid."""
    first = buy(cache, ledger, image(1))
    intent = intent_of(image(1))
    second = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, second), second, account=ACCOUNT)
    ((name, detail),) = problems(cache)
    assert name.endswith(second.request_id)
    assert first.request_id in detail
    assert "charged for the same purchase" in detail
    assert cache.spend_on_record().receipt_units == 2


@pytest.mark.usefixtures("receipt")
@pytest.mark.parametrize(
    "wrong",
    [Spend(), Spend(receipt_units=5), Spend(receipt_units=5, open_units=1, cost_micro_usd=1)],
)
def test_totals_that_do_not_add_up_are_found(cache: PaidCache, folder: Path, wrong: Spend) -> None:
    """They decide what may still be spent."""
    overwrite(folder, record_codec.TOTALS, record_codec.encode_totals(wrong))
    ((name, detail),) = problems(cache)
    assert name == "totals"
    assert "the records add up to Spend(receipt_units=5, open_units=1" in detail


def test_a_purchase_that_stayed_open_after_its_receipt_is_found(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """It would block its units for ever."""
    intent = intent_of(*images(3, 4))
    assert intent.idempotency_key == receipt.idempotency_key
    tamper(
        folder,
        "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, 1, 'intent', 1, ?)",
        record_codec.intent_name(intent.idempotency_key),
        record_codec.encode_intent(intent),
    )
    names = [name for name, _ in problems(cache)]
    assert names == [record_codec.intent_name(intent.idempotency_key), "totals"]


@pytest.mark.usefixtures("receipt")
def test_embeddings_of_one_model_with_two_lengths_are_found(
    cache: PaidCache, ledger: Ledger
) -> None:
    """No table can be made of them."""
    intent = intent_of(image(30))
    receipt = ledger.charge(intent, dim=9)
    cache.commit(intent, rows_of(intent, receipt, dim=9), receipt, account=ACCOUNT)
    ((name, detail),) = problems(cache)
    assert name.startswith("model sha256:")
    assert detail == "its embeddings have different lengths: [8, 9]"


def test_rows_without_a_receipt_are_found(cache: PaidCache, folder: Path) -> None:
    """A planted row has no receipt."""
    intent = intent_of(image(1))
    (row,) = rows_of(intent, Ledger().charge(intent))
    tamper(
        folder,
        "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, 1, 'row', 1, ?)",
        image(1).digest,
        encode_row(row),
    )
    assert problems(cache) == [("request req_0002", "1 embeddings are stored without a receipt")]
