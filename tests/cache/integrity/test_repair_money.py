"""Repairs of receipts, open purchases and totals: no query is lost or counted twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Purchase, Spend
from cache.records.receipt import Receipt
from cache.storage import record_codec
from cache.storage.database import StoredRecord
from cache.storage.missing_rows import find_missing_rows
from cache.storage.receipts_file import append
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    images,
    intent_of,
    overwrite,
    rows_of,
    tamper,
)
from tests.support.cache_repairs import is_sound, repair


def test_a_deleted_receipt_is_restored_and_marked_as_paid(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """It can be deleted only past the triggers, and the second copy still has it."""
    spend = cache.spend_on_record()
    tamper(folder, "DELETE FROM Cache WHERE tag IN ('receipt', 'paid')")
    repair(folder)
    assert receipt in list(cache.receipts())
    assert cache.spend_on_record() == spend
    assert is_sound(folder)


@pytest.mark.parametrize("wrong", [Spend(), Spend(receipt_units=1), None])
def test_wrong_totals_are_counted_again(
    cache: PaidCache, receipt: Receipt, folder: Path, wrong: Spend | None
) -> None:
    """From the receipts, open purchases and write-offs."""
    assert receipt
    spend = cache.spend_on_record()
    content = b"rubbish" if wrong is None else record_codec.encode_totals(wrong)
    overwrite(folder, record_codec.TOTALS, content)
    repair(folder)
    assert cache.spend_on_record() == spend
    assert is_sound(folder)


def test_a_damaged_open_purchase_that_the_totals_confirm_is_kept(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """The client settles it as usual."""
    assert receipt
    (intent,) = cache.open_intents()
    (record,) = cache.named(record_codec.intent_name(intent.idempotency_key))
    overwrite(folder, record.name, record.content()[:-1] + b"\0")
    repair(folder)
    assert cache.open_intents() == [intent]
    assert is_sound(folder)


def test_an_unreadable_open_purchase_is_written_off_and_stays_counted(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """It may have been charged: it counts against the budget, and the audit looks for its key."""
    assert receipt
    (intent,) = cache.open_intents()
    spend = cache.spend_on_record()
    overwrite(folder, record_codec.intent_name(intent.idempotency_key), b"rubbish")
    repair(folder)
    (write_off,) = cache.write_offs()
    assert (write_off.idempotency_key, write_off.units) == (intent.idempotency_key, 1)
    assert "may have been charged" in write_off.detail
    assert cache.open_intents() == []
    assert cache.spend_on_record().committed_units == spend.committed_units
    assert is_sound(folder)


def test_an_unreadable_open_purchase_with_a_copied_receipt_is_paid(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Killed between the line and the commit, and then damaged: the line proves the charge."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    append(folder, [Purchase(account=ACCOUNT, run="r", receipt=receipt, keys=intent.keys)])
    overwrite(folder, record_codec.intent_name(intent.idempotency_key), b"rubbish")
    repair(folder)
    assert list(cache.write_offs()) == []
    (lost,) = find_missing_rows(cache)
    cache.restore(lost.purchase, rows_of(intent, receipt))
    assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)
    assert is_sound(folder)


def test_a_purchase_that_stayed_open_beside_its_receipt_is_closed(
    cache: PaidCache, receipt: Receipt, folder: Path
) -> None:
    """It would count against the budget for ever."""
    intent = intent_of(*images(3, 4))
    assert intent.idempotency_key == receipt.idempotency_key
    tamper(
        folder,
        "INSERT INTO Cache(key, raw, tag, mode, value) VALUES (?, 1, 'intent', 1, ?)",
        record_codec.intent_name(intent.idempotency_key),
        record_codec.encode_intent(intent),
    )
    repair(folder)
    assert intent not in cache.open_intents()
    assert is_sound(folder)


@pytest.mark.parametrize("damage", ["flip", "rubbish"])
def test_a_damaged_write_off_stays_a_write_off(cache: PaidCache, folder: Path, damage: str) -> None:
    """With the queries that the totals count."""
    intent = intent_of(*images(1, 2))
    cache.write_off(intent, account=ACCOUNT, detail="purged")
    (record,) = cache.named(record_codec.write_off_name(intent.idempotency_key))
    content = record.content()[:-1] + b"\0" if damage == "flip" else b"rubbish"
    overwrite(folder, record.name, content)
    repair(folder)
    assert [write_off.units for write_off in cache.write_offs()] == [2]
    assert cache.spend_on_record() == Spend(written_off_units=2)
    assert is_sound(folder)


@pytest.mark.usefixtures("receipt")
@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_any_damage_and_the_replays_everything_is_as_it_was(
    cache: PaidCache, folder: Path, data: st.DataObject
) -> None:
    """Records are flipped, emptied or deleted: every query and every row is restored."""
    records = list(cache.scan_all())
    try:
        _damage_and_repair(cache, folder, records, data)
    finally:
        _put_back(folder, records)


def _damage_and_repair(
    cache: PaidCache, folder: Path, records: list[StoredRecord], data: st.DataObject
) -> None:
    receipts, spend = set(cache.receipts()), cache.spend_on_record()
    hurt = data.draw(st.lists(st.sampled_from(records), min_size=1, max_size=4, unique=True))
    for record in hurt:
        _hurt(folder, record, data)
    repair(folder)
    assert set(cache.receipts()) == receipts
    assert cache.spend_on_record().receipt_units == spend.receipt_units
    intents = {record.name for record in hurt if record.tag in ("intent", "totals")}
    if len(intents) < 2:
        assert cache.spend_on_record().committed_units == spend.committed_units
    for lost in find_missing_rows(cache):
        cache.restore(lost.purchase, rows_of(lost.purchase.intent, lost.purchase.receipt))
    assert verify(cache).problems == ()
    assert not repair(folder).changed


def _hurt(folder: Path, record: StoredRecord, data: st.DataObject) -> None:
    content = bytearray(record.content())
    kinds = ["flip", "cut"] + ["delete"] * (record.tag not in ("intent", "refusal", "run"))
    kind = data.draw(st.sampled_from(kinds))
    if kind == "flip":
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    sql = "DELETE FROM Cache WHERE key = ?"
    if kind == "delete":
        tamper(folder, sql, record.key)
    else:
        tamper(folder, "UPDATE Cache SET value = ? WHERE key = ?", bytes(content), record.key)


def _put_back(folder: Path, records: list[StoredRecord]) -> None:
    tamper(folder, "DELETE FROM Cache")
    for record in records:
        names = "key, raw, tag, mode, filename, value"
        tamper(folder, f"INSERT INTO Cache({names}) VALUES (?, ?, ?, ?, ?, ?)", *record)
