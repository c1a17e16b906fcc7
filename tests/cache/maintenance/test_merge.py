"""Merges of two caches."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cache.cli import main
from cache.errors import CacheUnavailable, CorruptRow, IntentConflict, ReceiptConflict
from cache.integrity.verify import verify
from cache.maintenance.merge import Merged
from cache.paid_cache import PaidCache, Spend
from cache.records.receipt import CLIENT_KNOWS
from cache.storage.folder import RECEIPTS
from cache.storage.reader import CacheReader
from tests.support.cache_merges import everything, join
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
    run_record,
    tamper,
)


@pytest.fixture
def other(empty_cache: Path, tmp_path: Path) -> Path:
    """The folder of a second, empty cache."""
    return Path(shutil.copytree(empty_cache, tmp_path / "other"))


def test_a_merge_adds_everything_in_the_second_cache(folder: Path, other: Path) -> None:
    """Receipts, rows, rows bought twice, open purchases, write-offs, refusals and runs."""
    ledger = Ledger()
    with PaidCache.open(folder) as first, PaidCache.open(other) as second:
        buy(first, ledger, *images(1, 2))
        buy(second, ledger, *images(2, 3))
        buy(second, ledger, *images(3, 4))
        second.reserve(intent_of(image(5)), budget=100)
        second.write_off(intent_of(image(6)), account=ACCOUNT, detail="purged")
        second.refuse(image(7), code="invalid_image", detail="torn")
        second.record_run(run_record("run-2"))
    before = everything(other)
    added = join(other, folder)
    assert added == Merged(
        receipts=2,
        units=4,
        cost_micro_usd=400,
        rows=4,
        intents=1,
        intents_ended=0,
        refusals=1,
        runs=1,
        write_offs=1,
        copies=2,
    )
    with CacheReader.open(folder) as merged:
        assert verify(merged).problems == ()
        assert verify(merged).receipts_without_copy == 0
        assert merged.missing(images(1, 2, 3, 4)) == []
        assert merged.spend_on_record() == Spend(
            receipt_units=6, open_units=1, cost_micro_usd=600, written_off_units=1
        )
    assert everything(other) == before


def test_merging_again_adds_nothing(folder: Path, other: Path) -> None:
    """Nor does merging the result back."""
    with PaidCache.open(other) as second:
        buy(second, Ledger(), *images(1, 2))
        second.reserve(intent_of(image(5)), budget=100)
    join(other, folder)
    before = everything(folder)
    assert set(counts(join(other, folder))) == {0}
    assert set(counts(join(folder, other))) == {0}
    assert everything(folder) == before == everything(other)


def counts(merged: Merged) -> list[int]:
    """All counts."""
    return [int(getattr(merged, name)) for name in Merged.__dataclass_fields__]


def test_the_source_is_not_written_to(folder: Path, other: Path) -> None:
    """Not a byte of its files."""
    with PaidCache.open(other) as second:
        buy(second, Ledger(), *images(1, 2))
    before = {path.name: path.read_bytes() for path in other.iterdir() if path.is_file()}
    join(other, folder)
    after = {path.name: path.read_bytes() for path in other.iterdir() if path.is_file()}
    sidecars = {"cache.db-wal", "cache.db-shm"}
    assert {n: b for n, b in after.items() if n not in sidecars} == before


def test_one_request_with_two_receipts_is_refused_and_nothing_is_written(
    folder: Path, other: Path
) -> None:
    """Only an audit can show which receipt the vendor issued."""
    ledger = Ledger()
    with PaidCache.open(folder) as first, PaidCache.open(other) as second:
        receipt = buy(first, ledger, image(1))
        buy(second, ledger, image(2))
        intent = intent_of(image(1))
        forged = rehashed(receipt, balance_units=1)
        second.commit(intent, rows_of(intent, forged), forged, account=ACCOUNT)
    before = everything(folder)
    with pytest.raises(ReceiptConflict, match=receipt.request_id):
        join(other, folder)
    assert everything(folder) == before


def test_a_key_with_two_open_purchases_is_refused_and_nothing_is_written(
    folder: Path, other: Path
) -> None:
    """One key would request both."""
    with PaidCache.open(folder) as first, PaidCache.open(other) as second:
        first.reserve(intent_of(image(1), name="k"), budget=9)
        second.reserve(intent_of(image(2), name="k"), budget=9)
        buy(second, Ledger(), image(3))
    before = everything(folder)
    with pytest.raises(IntentConflict):
        join(other, folder)
    assert everything(folder) == before


@pytest.mark.parametrize("paid_in", ["first", "second"])
def test_a_purchase_open_in_one_and_paid_in_the_other_is_paid(
    folder: Path, other: Path, paid_in: str
) -> None:
    """Its units count once."""
    intent = intent_of(*images(1, 2))
    receipt = Ledger().charge(intent)
    with PaidCache.open(folder) as first, PaidCache.open(other) as second:
        for cache in (first, second):
            cache.reserve(intent, budget=9)
        payer = first if paid_in == "first" else second
        payer.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert join(other, folder).intents_ended == (1 if paid_in == "second" else 0)
    with CacheReader.open(folder) as merged:
        assert merged.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)
        assert merged.open_intents() == []
        assert verify(merged).is_sound


def test_a_damaged_source_is_refused_and_nothing_is_written(folder: Path, other: Path) -> None:
    """It must be repaired first."""
    with PaidCache.open(other) as second:
        buy(second, Ledger(), *images(1, 2))
    overwrite(other, image(2).digest, b"rubbish")
    before = everything(folder)
    with pytest.raises(CorruptRow):
        join(other, folder)
    assert everything(folder) == before
    tamper(other, "DELETE FROM Cache WHERE key = ?", image(2).digest)
    (other / RECEIPTS).write_bytes(b"rubbish\n")
    with pytest.raises(CacheUnavailable, match="damaged in line 1"):
        join(other, folder)
    assert everything(folder) == before


def test_missing_rows_of_the_first_cache_are_restored_from_the_second(
    folder: Path, other: Path
) -> None:
    """A copy of a cache is a backup of it."""
    with PaidCache.open(folder) as first:
        buy(first, Ledger(), *images(1, 2))
    shutil.rmtree(other)
    shutil.copytree(folder, other)
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(2).digest)
    added = join(other, folder)
    assert (added.receipts, added.rows) == (0, 1)
    assert everything(folder) == everything(other)


def test_a_merge_is_refused_while_a_run_uses_either_cache(folder: Path, other: Path) -> None:
    """It writes to a cache that is being merged."""
    with PaidCache.open(folder) as first, PaidCache.open(other) as second:
        for cache in (first, second):
            with (
                cache.hold_run_lock("run-1"),
                pytest.raises(CacheUnavailable, match="in use by run-1"),
            ):
                join(other, folder)
    with pytest.raises(CacheUnavailable, match="into itself"):
        join(folder, folder)


def test_second_copies_of_a_purchase_that_both_have_are_joined(folder: Path, other: Path) -> None:
    """The first was made before there were any."""
    with PaidCache.open(folder) as first:
        buy(first, Ledger(), *images(1, 2))
    shutil.rmtree(other)
    shutil.copytree(folder, other)
    (folder / RECEIPTS).unlink()
    added = join(other, folder)
    assert (added.receipts, added.copies) == (0, 1)
    assert everything(folder) == everything(other)


def test_embeddings_keep_their_order_where_no_second_copy_of_a_receipt_has_it(
    folder: Path, other: Path
) -> None:
    """The digest of a receipt is over the order of sending."""
    ledger = Ledger()
    with PaidCache.open(other) as second:
        buy(second, ledger, *images(1, 2))
        buy(second, ledger, *images(2, 3))
    (other / RECEIPTS).unlink()
    join(other, folder)
    assert everything(folder) == everything(other)


def test_the_command_prints_what_was_added(
    folder: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cache is created if there is none."""
    with PaidCache.open(other) as second:
        buy(second, Ledger(), *images(1, 2))
    assert main(["merge", str(folder), str(other)]) == 0
    assert "added: 1 receipts (2 queries, 0.000200 USD), 2 embeddings" in capsys.readouterr().out
    assert main(["merge", str(folder), str(other), "--json"]) == 0
    assert '"receipts": 0' in capsys.readouterr().out
    assert main(["merge", str(folder / "no"), str(other)]) == 2
    assert "there is no cache in" in capsys.readouterr().err
    assert not (folder / "no").exists()


def test_the_command_merges_the_shards_of_one_purchase_with_what_is_in_doubt(
    folder: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = Path(shutil.copytree(other, tmp_path / "third"))
    ledger = Ledger()
    with (
        PaidCache.open(folder) as one,
        PaidCache.open(other) as two,
        PaidCache.open(third) as three,
    ):
        buy(one, ledger, *images(1, 2))
        buy(two, ledger, *images(3, 4, 5))
        doubtful = replace(intent_of(image(6)), idempotency_key=f"{CLIENT_KNOWS}6")
        three.write_off(doubtful, account=ACCOUNT, detail="never answered")
        three.reserve(intent_of(image(7)), budget=100)
    assert main(["merge", str(folder), str(other), str(third), "--json"]) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["receipts"], added["units"], added["losses"], added["intents"]) == (1, 3, 1, 1)
    with CacheReader.open(folder) as cache:
        assert verify(cache).problems == ()
        assert cache.spend_on_record().committed_units == 2 + 3 + 1 + 1
        assert [one.is_in_doubt for one in cache.write_offs()] == [True]


def test_a_shard_that_cannot_be_merged_is_named_after_the_others_are_added(
    folder: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with PaidCache.open(other) as second:
        buy(second, Ledger(), *images(1, 2))
    missing = tmp_path / "no"
    assert main(["merge", str(folder), str(other), str(missing)]) == 2
    assert str(missing) in capsys.readouterr().err
    with CacheReader.open(folder) as cache:
        assert cache.spend_on_record().receipt_units == 2
