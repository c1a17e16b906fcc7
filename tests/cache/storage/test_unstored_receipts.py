"""A database that lacks receipts of receipts.jsonl is not used for purchases."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.cli import main
from cache.errors import CacheUnavailable
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, StoredReceipt
from cache.records.receipt import account_name
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import append
from tests.cache.storage.test_processes import BUYER, start
from tests.support.cache_merges import join
from tests.support.cache_purchases import (
    ACCOUNT,
    KEY_ID,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
)
from tests.support.cache_repairs import repair

MOVED = account_name("http://127.0.0.1:8000", KEY_ID)


def refused(folder: Path) -> str:
    """The message of the refusal to open."""
    with pytest.raises(CacheUnavailable, match="nothing was bought") as caught:
        PaidCache.open(folder, patience_s=5.0)
    return str(caught.value)


@pytest.mark.parametrize("damage", ["emptied", "older", "without its log"])
def test_a_database_that_lacks_receipts_is_refused_until_it_is_repaired(
    folder: Path, tmp_path: Path, damage: str
) -> None:
    """Otherwise everything would be bought again, from the full budget."""
    ledger, older = Ledger(), tmp_path / "older.db"
    with PaidCache.open(folder) as cache:
        buy(cache, ledger, *images(1, 2))
    shutil.copy(folder / DATABASE, older)
    cache = PaidCache.open(folder)
    buy(cache, ledger, *images(3, 4, 5))
    copy = tmp_path / "copy"
    copy.mkdir()
    # The cache is open, so the last purchase is in its write-ahead log only.
    shutil.copy(folder / RECEIPTS, copy)
    shutil.copy(older if damage == "older" else folder / DATABASE, copy / DATABASE)
    cache.close()
    if damage == "emptied":
        (copy / DATABASE).write_bytes(b"")
    count = 2 if damage == "emptied" else 1
    for _ in range(2):
        assert f"{count} receipts in receipts.jsonl" in refused(copy)
    repair(copy)
    with PaidCache.open(copy) as mended:
        assert mended.spend_on_record().committed_units == 5
        assert sum(len(lost.missing) for lost in find_missing_rows(mended)) == (
            5 if damage == "emptied" else 3
        )


@given(kept=st.integers(0, 3), ends=st.lists(st.sampled_from(["paid", "open"]), max_size=3))
@settings(max_examples=12)
def test_an_older_database_is_refused_exactly_when_it_lacks_a_receipt(
    empty_cache: Path, tmp_path_factory: pytest.TempPathFactory, kept: int, ends: list[str]
) -> None:
    """A purchase that was open already is settled as usual: the vendor sends its answer again."""
    folder = Path(shutil.copytree(empty_cache, tmp_path_factory.mktemp("stray") / "cache"))
    ledger = Ledger()
    reserved = [intent_of(image(number), name=f"p{number}") for number in range(3)]
    with PaidCache.open(folder) as cache:
        for intent, _ in zip(reserved, ends, strict=False):
            cache.reserve(intent, budget=100)
        for number in range(kept):
            buy(cache, ledger, image(10 + number))
    older = (folder / DATABASE).read_bytes()
    with PaidCache.open(folder) as cache:
        for intent, end in zip(reserved, ends, strict=False):
            if end == "paid":
                receipt = ledger.charge(intent)
                cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    (folder / DATABASE).write_bytes(older)
    PaidCache.open(folder).close()
    with PaidCache.open(folder) as cache:
        buy(cache, ledger, image(20))
    (folder / DATABASE).write_bytes(older)
    assert "1 receipts" in refused(folder)


def test_a_written_off_purchase_needs_no_receipt(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Its commit failed after the line, and then the vendor deleted the answer."""
    intent = intent_of(image(1))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=receipt)
    append(folder, [stored.paying_for(intent.keys)])
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    assert verify(cache).is_sound
    PaidCache.open(folder).close()
    assert not repair(folder).changed


def test_a_receipt_under_another_address_of_its_key_is_stored(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Its first commit failed after the line; the next run reached the vendor elsewhere."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=receipt)
    append(folder, [stored.paying_for(intent.keys)])
    cache.commit(intent, rows_of(intent, receipt), receipt, account=MOVED)
    assert verify(cache).is_sound
    PaidCache.open(folder).close()
    cache.close()
    # Both lines are of the same charge, even if only the lines are left.
    (folder / DATABASE).write_bytes(b"")
    repair(folder)
    with PaidCache.open(folder) as mended:
        assert mended.spend_on_record().receipt_units == 2
        assert len(find_missing_rows(mended)) == 1


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_line_of_a_commit_in_progress_is_waited_for(folder: Path, is_kept: bool) -> None:
    """As of a merge, which has no open purchase: only the lock shows whether it is done."""
    ledger = Ledger()
    intent = intent_of(image(1))
    receipt = ledger.charge(intent)
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=receipt)
    is_written, may_end = threading.Event(), threading.Event()

    def commit() -> None:
        with PaidCache.open(folder) as cache, cache.transaction() as changes:
            if is_kept:
                changes.add_receipt(stored)
                changes.add_row(rows_of(intent, receipt)[0])
            append(folder, [stored.paying_for(intent.keys)])
            is_written.set()
            may_end.wait(30)

    with PaidCache.open(folder, patience_s=20.0) as reader:
        thread = threading.Thread(target=commit)
        thread.start()
        is_written.wait(30)
        threading.Timer(0.3, may_end.set).start()
        # Opening the cache again would wait for the lock before it reads.
        if is_kept:
            reader._require_all_receipts()
        else:
            with pytest.raises(CacheUnavailable, match="1 receipts"):
                reader._require_all_receipts()
        thread.join()


def test_a_cache_that_others_buy_into_meanwhile_can_be_opened_at_any_time(folder: Path) -> None:
    """There is no false alarm, however often it is opened."""
    with start(BUYER, folder, 0) as client:
        assert client.stdout is not None
        for _ in range(12):
            client.stdout.readline()
            PaidCache.open(folder, patience_s=60.0).close()
        client.send_signal(signal.SIGKILL)
    PaidCache.open(folder, patience_s=60.0).close()


def test_a_merge_restores_the_receipts_of_a_cache(
    folder: Path, empty_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A backup restores the rows too; it must be complete itself."""
    with PaidCache.open(folder) as cache:
        buy(cache, Ledger(), *images(1, 2))
    emptied = Path(shutil.copytree(empty_cache, tmp_path / "emptied"))
    shutil.copy(folder / RECEIPTS, emptied)
    refused(emptied)
    with pytest.raises(CacheUnavailable, match="not have: run cache-report verify --repair"):
        join(emptied, folder)
    assert main(["merge", str(emptied), str(folder)]) == 0
    assert "added: 1 receipts" in capsys.readouterr().out
    with PaidCache.open(emptied) as mended, CacheReader.open(folder) as whole:
        assert mended.spend_on_record() == whole.spend_on_record()
        assert mended.missing(images(1, 2)) == []
        assert verify(mended).is_sound


def test_a_damaged_line_is_not_an_unstored_receipt(folder: Path) -> None:
    """It proves nothing: the cache opens, and verify names it."""
    with PaidCache.open(folder) as cache:
        buy(cache, Ledger(), image(1))
    text = (folder / RECEIPTS).read_text()
    (folder / RECEIPTS).write_text(text + text.replace("req_0002", "req_0003") + "[]\nrubbish\n")
    with PaidCache.open(folder) as cache:
        assert len(verify(cache).problems) == 3
