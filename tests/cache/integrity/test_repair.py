"""Repairs of one database, record by record."""

from __future__ import annotations

import base64
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.paid_cache import PaidCache, Spend
from cache.records.receipt import Receipt
from cache.storage.folder import RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import read_copies
from cache.storage.row_codec import encode_row
from tests.support.cache_command import store_receipt
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    altered,
    buy,
    image,
    images,
    overwrite,
    rehashed,
    rows_of,
    tamper,
)
from tests.support.cache_repairs import is_sound, quarantined, receipt_record, repair


def test_a_sound_cache_is_not_changed(cache: PaidCache, receipt: Receipt, folder: Path) -> None:
    """Only lock files are written."""
    assert receipt
    before = list(cache.scan_all())
    result = repair(folder)
    assert not result.changed
    assert result.verification.is_sound
    assert list(cache.scan_all()) == before
    assert not (folder / "quarantine").exists()


def test_a_corrupt_row_is_quarantined_and_restored_by_a_free_replay(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Its bytes are kept, its price is reported, and the replay makes the cache sound."""
    overwrite(folder, image(3).digest, b"rubbish")
    result = repair(folder)
    assert [record.name for record in result.moved] == [image(3).digest.hex()]
    (kept,) = quarantined(folder)
    assert base64.b64decode(kept["value_base64"]) == b"rubbish"
    assert base64.b64decode(kept["key_base64"]) == image(3).digest
    assert kept["reason"] == "its checksum does not match its bytes"
    (short,) = result.shortages
    assert (short.request_id, short.images, short.texts) == (receipt.request_id, 1, 0)
    assert (short.queries, short.rebuy_micro_usd, short.is_replayable) == (1, 100, True)
    assert not result.verification.is_sound
    (lost,) = find_missing_rows(cache)
    cache.restore(lost.purchase, rows_of(lost.purchase.intent, receipt))
    assert is_sound(folder)


def test_a_corrupt_receipt_is_restored_from_the_second_copy(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Money records are never lost to a repair."""
    spend = cache.spend_on_record()
    overwrite(folder, receipt_record(receipt), b"rubbish")
    result = repair(folder)
    assert [record.name for record in result.restored] == [receipt_record(receipt)]
    assert [record["name"] for record in quarantined(folder)] == [receipt_record(receipt)]
    assert receipt in list(cache.receipts())
    assert cache.spend_on_record() == spend
    assert is_sound(folder)


def test_a_corrupt_receipt_without_a_second_copy_is_proven_by_its_hash(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Here the run is damaged and the receipt itself is not."""
    (folder / RECEIPTS).unlink()
    (record,) = cache.named(receipt_record(receipt))
    overwrite(folder, record.name, record.content().replace(b'"run":"run-1"', b'"run":"run-x"'))
    result = repair(folder)
    assert receipt in list(cache.receipts())
    assert result.copies_written == 2
    assert is_sound(folder)


def test_an_unproven_corrupt_receipt_is_left_in_place(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """It is the only trace of the charge: reported, not moved; the audit decides."""
    (folder / RECEIPTS).unlink()
    (record,) = cache.named(receipt_record(receipt))
    changed = record.content().replace(b'"units":2', b'"units":1')
    overwrite(folder, record.name, changed)
    result = repair(folder)
    assert result.moved == ()
    assert [r.content() for r in cache.named(receipt_record(receipt))] == [changed]
    assert receipt_record(receipt) in [problem.name for problem in result.verification.problems]


def test_a_receipt_with_a_false_hash_is_replaced_by_its_second_copy(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Only one of them has the vendor's hash."""
    store_receipt(folder, altered(receipt, units=1), at=receipt)
    result = repair(folder)
    assert [record.name for record in result.moved] == [receipt_record(receipt)]
    assert receipt in list(cache.receipts())
    assert is_sound(folder)


def test_two_intact_receipts_are_left_to_the_audit(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The cache alone cannot show which receipt is the vendor's."""
    store_receipt(folder, rehashed(receipt, balance_units=7), at=receipt)
    result = repair(folder)
    assert not result.changed
    assert receipt_record(receipt) in [problem.name for problem in result.verification.problems]


def test_a_receipt_under_a_wrong_name_is_restored(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """Both receipts exist afterwards."""
    before = list(cache.receipts())
    store_receipt(folder, receipt, at=before[0])
    repair(folder)
    assert sorted(r.seq for r in cache.receipts()) == [r.seq for r in before]
    assert is_sound(folder)


def test_a_row_under_a_wrong_name_is_stored_under_its_own(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """It is intact; only its name is wrong."""
    buy(cache, ledger, image(1))
    (row,) = cache.rows()
    tamper(folder, "UPDATE Cache SET key = ? WHERE tag = 'row'", image(9).digest)
    result = repair(folder)
    assert result.shortages == ()
    assert cache.get(image(1)) == row
    assert is_sound(folder)


def test_a_planted_pickle_is_quarantined_and_never_run(cache: PaidCache, folder: Path) -> None:
    """CVE-2025-69872: quarantine holds it as base64 text."""
    bomb = pickle.dumps({"a": 1})
    for raw, mode in ((0, 1), (1, 4)):
        tamper(
            folder,
            "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, ?, 'row', ?, ?)",
            bomb,
            raw,
            mode,
            bomb,
        )
    repair(folder)
    assert [base64.b64decode(record["value_base64"]) for record in quarantined(folder)] == [
        bomb,
        bomb,
    ]
    assert is_sound(folder)
    assert cache.spend_on_record() == Spend()


def test_damaged_lines_of_the_second_copy_are_quarantined_and_rewritten(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The database has the receipt, and the rows have the keys that it paid for."""
    first, second = (folder / RECEIPTS).read_bytes().splitlines(keepends=True)
    (folder / RECEIPTS).write_bytes(b"rubbish\n" + second)
    result = repair(folder)
    assert result.copies_written == 1
    assert [base64.b64decode(record["value_base64"]) for record in quarantined(folder)] == [
        b"rubbish"
    ]
    assert sorted((folder / RECEIPTS).read_bytes().splitlines(keepends=True)) == sorted(
        [first, second]
    )
    assert receipt.verify()
    assert is_sound(folder)


def test_a_cache_from_before_the_second_copy_gets_one(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """With the keys of the stored rows, in the order of purchase."""
    before = (folder / RECEIPTS).read_bytes()
    (folder / RECEIPTS).unlink()
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(4).digest)
    result = repair(folder)
    assert result.copies_written == 2
    assert (folder / RECEIPTS).read_bytes().splitlines()[0] == before.splitlines()[0]
    purchase = read_copies(folder).purchases[(ACCOUNT, receipt.request_id)]
    assert (purchase.keys, purchase.is_whole) == (images(3), False)
    (short,) = result.shortages
    assert not short.is_replayable
    assert find_missing_rows(cache) == []
    assert not repair(folder).changed


def test_a_repair_is_refused_while_a_run_is_running(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The run reads the rows that a repair removes."""
    overwrite(folder, receipt_record(receipt), b"rubbish")
    with cache.hold_run_lock("run-1"), pytest.raises(CacheUnavailable, match="in use by run-1"):
        repair(folder)
    assert not (folder / "quarantine").exists()


def test_a_repair_that_cannot_keep_what_it_moves_changes_nothing(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The disk is full, or a file has the name of the folder."""
    overwrite(folder, receipt_record(receipt), b"rubbish")
    (folder / "quarantine").write_text("in the way")
    before = list(cache.scan_all())
    with pytest.raises(CacheUnavailable, match="cannot repair"):
        repair(folder)
    assert list(cache.scan_all()) == before
    (folder / "quarantine").unlink()
    repair(folder)
    assert is_sound(folder)


def test_rows_are_protected_again_after_a_repair(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The triggers are lifted inside its transaction only."""
    overwrite(folder, receipt_record(receipt), b"rubbish")
    sql = "SELECT count(*) FROM sqlite_master WHERE name LIKE 'paid_is_%' OR name LIKE 'loss_is_%'"
    assert list(cache.query(sql)) == [(0,)]
    repair(folder)
    assert list(cache.query(sql)) == [(4,)]


def test_a_folder_without_a_cache_is_not_repaired(tmp_path: Path) -> None:
    """Nothing is made in it."""
    with pytest.raises(CacheUnavailable, match="no cache in"):
        repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_row_restored_from_a_wrong_name_is_not_fetched_again(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Bought again instead of replayed: both are paid, and only the first has missing rows."""
    first = buy(cache, ledger, image(1))
    overwrite(folder, image(1).digest, encode_row(replace(next(cache.rows()), request_id="x"))[:-1])
    repair(folder)
    buy(cache, ledger, image(1), name="again")
    with CacheReader.open(folder) as records:
        assert [missing.purchase.receipt for missing in find_missing_rows(records)] == [first]
