"""One vendor reached at two addresses: its charges count once, whichever cache settled them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.records.receipt import account_name
from cache.storage.folder import RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.reader import CacheReader
from cache.storage.receipts_file import read_copies
from tests.support.cache_merges import join
from tests.support.cache_purchases import KEY_ID, Ledger, image, images, intent_of, rows_of, tamper

HERE = account_name("http://127.0.0.1:8000", KEY_ID)
THERE = account_name("http://localhost:8000", KEY_ID)
STRANGER = account_name("http://localhost:8000", "k2")


@given(settled=st.lists(st.tuples(*[st.sampled_from([HERE, THERE, None])] * 2), max_size=4))
@settings(max_examples=12)
def test_merged_caches_have_paid_what_the_vendor_charged(
    empty_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
    settled: list[tuple[str | None, str | None]],
) -> None:
    """Both copies of a cache settle its open purchases, each at the address that it knows."""
    root = tmp_path_factory.mktemp("addresses")
    first = Path(shutil.copytree(empty_cache, root / "first"))
    ledger = Ledger()
    intents = [intent_of(*images(2 * n, 2 * n + 1), name=f"p{n}") for n in range(len(settled))]
    with PaidCache.open(first) as cache:
        for intent in intents:
            cache.reserve(intent, budget=100)
    second = Path(shutil.copytree(first, root / "second"))
    charged = 0
    for intent, accounts in zip(intents, settled, strict=True):
        if accounts == (None, None):
            continue
        receipt = ledger.charge(intent)
        charged += receipt.units
        for folder, account in zip((first, second), accounts, strict=True):
            if account is not None:
                with PaidCache.open(folder) as cache:
                    cache.commit(intent, rows_of(intent, receipt), receipt, account=account)
    join(second, first)
    with PaidCache.open(first) as merged:
        spend = merged.spend_on_record()
        assert (spend.receipt_units, spend.cost_micro_usd) == (charged, 100 * charged)
        assert spend.open_units == 2 * settled.count((None, None))
        assert verify(merged).problems == ()
        assert verify(merged).receipts_without_copy == 0
        assert len(read_copies(first).purchases) == sum(1 for _ in merged.receipts())
    again = join(second, first)
    assert {getattr(again, name) for name in again.__dataclass_fields__} == {0}
    join(first, second)
    with CacheReader.open(second) as back:
        assert back.spend_on_record() == spend


def test_an_answer_committed_again_from_another_address_is_the_same_purchase(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A receipt of another key under the same name is another purchase."""
    intent = intent_of(*images(1, 2))
    receipt = ledger.charge(intent)
    for account in (HERE, THERE):
        cache.commit(intent, rows_of(intent, receipt), receipt, account=account)
    assert cache.spend_on_record().receipt_units == 2
    cache.commit(intent, rows_of(intent, receipt), receipt, account=STRANGER)
    assert cache.spend_on_record().receipt_units == 4


def test_a_second_copy_is_added_under_the_address_of_the_stored_receipt(
    folder: Path, empty_cache: Path, tmp_path: Path
) -> None:
    """The first cache is from before there were any: lost rows are found by the line."""
    other = Path(shutil.copytree(empty_cache, tmp_path / "other"))
    intent = intent_of(*images(1, 2))
    receipt = Ledger().charge(intent)
    for place, account in ((folder, HERE), (other, THERE)):
        with PaidCache.open(place) as cache:
            cache.commit(intent, rows_of(intent, receipt), receipt, account=account)
    (folder / RECEIPTS).unlink()
    assert join(other, folder).copies == 1
    assert tamper(folder, "DELETE FROM Cache WHERE key = ?", image(2).digest) == 1
    with PaidCache.open(folder) as merged:
        (lost,) = find_missing_rows(merged)
        assert (lost.purchase.account, lost.missing) == (HERE, images(2))
