"""A receipt commits to the embeddings that it pays for: changed ones are found, and mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import InconsistentAnswer
from cache.integrity.verify import verify
from cache.maintenance.merge import merge
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import Receipt
from cache.storage.folder import RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.row_codec import encode_row
from tests.support.cache_command import audited, problems
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    overwrite,
    rehashed,
    rows_of,
    tamper,
    text,
    vector_of,
    vendor_of,
)
from tests.support.cache_repairs import is_sound, receipt_record, repair

PURCHASES: tuple[tuple[EmbeddingKey, ...], ...] = (
    images(1, 2, 3),
    (text("a"), image(4)),
    (image(2), image(5)),
)


def swap(cache: PaidCache, one: EmbeddingKey, other: EmbeddingKey) -> None:
    """Swap two vectors and compute the checksums of both rows again."""
    rows = cache.fetch([one, other])
    for key, source in ((one, other), (other, one)):
        changed = replace(rows[key], vector=rows[source].vector)
        overwrite(cache.folder, key.digest, encode_row(changed))


def assert_found(cache: PaidCache, ledger: Ledger, *receipts: Receipt) -> None:
    """`verify` and `audit` name exactly these purchases, and say why."""
    found = problems(cache)
    assert [name for name, _ in found] == [receipt_record(receipt) for receipt in receipts]
    assert all("its embeddings are not those that it pays for" in detail for _, detail in found)
    differences = audited(cache, vendor_of(ledger.entries)).differences
    assert [one.line for one in differences] == [
        f"seq {receipt.seq}, request {receipt.request_id}" for receipt in receipts
    ]


def test_two_swapped_vectors_with_new_checksums_are_found_by_verify_and_audit(
    cache: PaidCache, ledger: Ledger
) -> None:
    receipt = buy(cache, ledger, *images(1, 2))
    buy(cache, ledger, image(3))
    swap(cache, image(1), image(2))
    assert_found(cache, ledger, receipt)


def test_vectors_swapped_between_two_purchases_are_found_in_both(
    cache: PaidCache, ledger: Ledger
) -> None:
    receipts = [buy(cache, ledger, *images(1, 2)), buy(cache, ledger, image(3))]
    swap(cache, image(1), image(3))
    assert_found(cache, ledger, *receipts)


@given(where=st.integers(0, 6), value=st.integers(0, 7), bit=st.integers(0, 31))
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_changed_bit_of_any_vector_is_found(
    tmp_path_factory: pytest.TempPathFactory, where: int, value: int, bit: int
) -> None:
    """Also of a vector that another purchase had bought before."""
    ledger = Ledger()
    with PaidCache.open(tmp_path_factory.mktemp("bits") / "paid-cache") as cache:
        receipts = [buy(cache, ledger, *keys) for keys in PURCHASES]
        rows = [*cache.rows(), *cache.rows_bought_again()]
        row = rows[where]
        changed = row.vector.copy().view(np.uint32)
        changed[value] ^= np.uint32(1 << bit)
        damaged = replace(row, vector=changed.view(np.float32))
        _store_as_it_is(cache, damaged, is_again=where == len(rows) - 1)
        owner = [one for one in receipts if one.request_id == row.request_id]
        assert_found(cache, ledger, *owner)


def _store_as_it_is(cache: PaidCache, row: object, *, is_again: bool) -> None:
    from cache.paid_cache import PaidEmbedding
    from cache.storage import record_codec

    assert isinstance(row, PaidEmbedding)
    if is_again:
        name = record_codec.again_name(row.key, row.request_id)
        overwrite(cache.folder, name, record_codec.encode_again(row))
    else:
        overwrite(cache.folder, row.key.digest, encode_row(row))


def test_a_digest_that_is_forged_with_its_hash_is_found_by_audit(
    cache: PaidCache, ledger: Ledger
) -> None:
    """`verify` alone cannot know: no later receipt of this cache contradicts it."""
    from cache.storage import record_codec
    from cache.storage.receipts_file import rewrite

    receipt = buy(cache, ledger, *images(1, 2))
    swap(cache, image(1), image(2))
    from cache.records.embeddings_digest import embeddings_sha256

    digest = embeddings_sha256([vector_of(image(2)), vector_of(image(1))])
    forged = rehashed(receipt, embeddings_sha256=digest)
    (stored,) = cache.stored_receipts()
    forged_record = record_codec.encode_receipt(replace(stored, receipt=forged))
    overwrite(cache.folder, receipt_record(receipt), forged_record)
    rewrite(cache.folder, [replace(stored, receipt=forged).paying_for(images(1, 2))])
    assert verify(cache).is_sound
    details = [one.detail for one in audited(cache, vendor_of(ledger.entries)).differences]
    assert any("field embeddings_sha256 differs" in detail for detail in details)


def test_repair_moves_false_embeddings_to_quarantine_and_a_replay_restores_them(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    receipt = buy(cache, ledger, *images(1, 2))
    buy(cache, ledger, image(3))
    swap(cache, image(1), image(2))
    result = repair(folder)
    moved = {image(1).digest.hex(), image(2).digest.hex()}
    assert {one.name for one in result.moved} == moved
    (missing,) = find_missing_rows(cache)
    assert set(missing.missing) == set(images(1, 2))
    cache.restore(missing.purchase, rows_of(missing.purchase.intent, receipt))
    assert is_sound(folder)
    row = cache.get(image(1))
    assert row is not None
    assert row.vector.tolist() == vector_of(image(1)).tolist()


def test_an_answer_without_its_digest_is_neither_committed_nor_restored(
    cache: PaidCache, ledger: Ledger
) -> None:
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    right = rows_of(intent, receipt)
    swapped = [
        replace(right[0], vector=right[1].vector),
        replace(right[1], vector=right[0].vector),
    ]
    with pytest.raises(InconsistentAnswer, match="digest that the receipt states"):
        cache.commit(intent, swapped, receipt, account=ACCOUNT)
    cache.commit(intent, right, receipt, account=ACCOUNT)
    tamper(cache.folder, "DELETE FROM Cache WHERE tag = 'row'")
    (missing,) = find_missing_rows(cache)
    with pytest.raises(InconsistentAnswer, match="digest that the receipt states"):
        cache.restore(missing.purchase, swapped)


def test_receipts_of_version_1_stay_valid_and_are_counted_as_without_a_digest(
    cache: PaidCache,
) -> None:
    old = Ledger(states_digests=False)
    receipt = buy(cache, old, *images(1, 2))
    assert "embeddings_sha256" not in receipt.entry()
    assert receipt.verify()
    result = verify(cache)
    assert (result.problems, result.receipts_without_digest) == ((), 1)
    audit = audited(cache, vendor_of(old.entries))
    assert (audit.differences, audit.receipts_without_digest) == ((), 1)


@given(order=st.permutations(range(len(PURCHASES))), lost=st.sets(st.integers(1, 5)))
@settings(max_examples=8, deadline=None)
def test_a_digest_survives_merge_loss_replay_and_repair(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[int], lost: set[int]
) -> None:
    """Whatever is merged in whatever order, lost and fetched again: no false alarm."""
    root, ledger = tmp_path_factory.mktemp("merges"), Ledger()
    receipts = {}
    for number, keys in enumerate(PURCHASES):
        with PaidCache.open(root / str(number)) as part:
            receipts[number] = buy(part, ledger, *keys)
    with PaidCache.open(root / "all") as whole:
        for number in order:
            with PaidCache.open(root / str(number)) as part:
                merge(part, whole)
        assert verify(whole).problems == ()
        for number in lost:
            tamper(whole.folder, "DELETE FROM Cache WHERE key = ?", image(number).digest)
        for missing in find_missing_rows(whole):
            rows = rows_of(missing.purchase.intent, missing.purchase.receipt)
            whole.restore(missing.purchase, rows)
        assert verify(whole).problems == ()
        assert not audited(whole, vendor_of(ledger.entries)).differences


def test_keys_in_another_order_than_the_digest_proves_are_not_written_to_the_second_copy(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Their order of storing is not that of sending: a replay would mix up their vectors."""
    receipt = buy(cache, ledger, *images(1, 2))
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(1).digest)
    (missing,) = find_missing_rows(cache)
    cache.restore(missing.purchase, rows_of(missing.purchase.intent, receipt))
    assert verify(cache).is_sound
    (folder / RECEIPTS).unlink()
    ((name, detail),) = problems(cache)
    assert name == receipt_record(receipt)
    assert "does not say in which order they were sent" in detail
    assert repair(folder).copies_written == 1
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(2).digest)
    assert find_missing_rows(cache) == []
