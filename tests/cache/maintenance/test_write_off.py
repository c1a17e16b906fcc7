"""Writing off open purchases that no run can settle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache.cli import main
from cache.errors import AnswerWrittenOff, CacheUnavailable, ClientBudgetExceeded, NotOpen
from cache.integrity.verify import verify
from cache.maintenance.write_off import write_off
from cache.paid_cache import PaidCache, Spend
from cache.records.purchase_records import StoredReceipt
from cache.storage.receipts_file import append
from tests.support.cache_command import audited
from tests.support.cache_merges import join
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    vendor_of,
)
from tests.support.cache_repairs import repair


@given(states=st.lists(st.sampled_from(["open", "given up", "paid", "charged"]), max_size=5))
@settings(max_examples=12)
def test_a_written_off_purchase_stays_counted_and_can_be_bought_again(
    empty_cache: Path, tmp_path_factory: pytest.TempPathFactory, states: list[str]
) -> None:
    """The committed queries stay the same, and verify and audit find no problem."""
    folder = Path(shutil.copytree(empty_cache, tmp_path_factory.mktemp("give-up") / "cache"))
    ledger = Ledger()
    with PaidCache.open(folder) as cache:
        for number, state in enumerate(states):
            intent = intent_of(*images(2 * number, 2 * number + 1), name=f"p{number}")
            cache.reserve(intent, budget=100)
            receipt = ledger.charge(intent) if state in ("paid", "charged") else None
            if state == "paid" and receipt is not None:
                cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
            elif state != "open":
                assert write_off(cache, intent.idempotency_key) == intent
                with pytest.raises(AnswerWrittenOff, match="written off"):
                    cache.reserve(intent, budget=100)
        assert len(cache.open_intents()) == states.count("open")
        spend = cache.spend_on_record()
        assert spend.committed_units == 2 * len(states)
        assert spend.written_off_units == 2 * (states.count("given up") + states.count("charged"))
        with pytest.raises(ClientBudgetExceeded):
            cache.reserve(intent_of(image(99)), budget=2 * len(states))
        assert verify(cache).problems == ()
        result = audited(cache, vendor_of(ledger.entries))
        assert result.is_balanced
        assert len(result.write_offs) == states.count("charged")
        for number, state in enumerate(states):
            if state in ("given up", "charged"):
                buy(cache, ledger, *images(2 * number, 2 * number + 1), name=f"again-{number}")
        assert verify(cache).problems == ()
    assert not repair(folder).changed


def test_an_answer_that_comes_after_the_write_off_counts_once(
    cache: PaidCache, ledger: Ledger
) -> None:
    """Its receipt replaces the write-off in the totals."""
    intent = intent_of(*images(1, 2))
    cache.reserve(intent, budget=10)
    write_off(cache, intent.idempotency_key)
    receipt = ledger.charge(intent)
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)
    assert verify(cache).is_sound


def test_a_purchase_with_a_line_in_receipts_jsonl_can_be_written_off(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The cache opens afterwards: the line belongs to a commit that did not happen."""
    intent = intent_of(image(1))
    cache.reserve(intent, budget=10)
    stored = StoredReceipt(account=ACCOUNT, run="run-1", receipt=ledger.charge(intent))
    append(folder, [stored.paying_for(intent.keys)])
    write_off(cache, intent.idempotency_key)
    assert verify(cache).is_sound
    PaidCache.open(folder).close()


def test_a_merge_closes_what_the_other_cache_wrote_off(folder: Path, tmp_path: Path) -> None:
    """And its units count once."""
    with PaidCache.open(folder) as cache:
        cache.reserve(intent_of(*images(1, 2), name="p"), budget=10)
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with PaidCache.open(other) as cache:
        write_off(cache, "p")
    assert join(other, folder).intents_ended == 1
    with PaidCache.open(folder) as merged:
        assert merged.spend_on_record() == Spend(written_off_units=2)


def test_a_purchase_of_a_running_run_is_not_written_off(cache: PaidCache) -> None:
    """The run may be receiving its answer right now."""
    intent = intent_of(image(1), run="run-1")
    cache.reserve(intent, budget=10)
    with cache.hold_run_lock("run-1"), pytest.raises(CacheUnavailable, match="run-1 is running"):
        write_off(cache, intent.idempotency_key)
    assert cache.open_intents() == [intent]
    write_off(cache, intent.idempotency_key)


def test_an_unambiguous_prefix_of_a_key_is_enough(cache: PaidCache) -> None:
    """The summary shows only a prefix; a complete key matches only its own purchase."""
    for name in ("buy1-aa", "buy1-ab", "buy1-abc"):
        cache.reserve(intent_of(image(1), name=name), budget=10)
    for unclear in ("buy1-", "", "…", "buy2-", "buy1-abcd"):
        with pytest.raises(NotOpen):
            write_off(cache, unclear)
    assert len(cache.open_intents()) == 3
    assert write_off(cache, "buy1-aa…").idempotency_key == "buy1-aa"
    assert write_off(cache, "buy1-ab").idempotency_key == "buy1-ab"
    with pytest.raises(NotOpen, match="no open purchases"):
        write_off(cache, "buy1-aa")


def test_the_command_prints_what_it_did(
    bought: Path, cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """No cache is created if there is none."""
    for name in ("first", "second"):
        cache.reserve(intent_of(*images(7, 8), name=name), budget=100)
    assert main(["write-off", "first"]) == 0
    shown = capsys.readouterr().out
    assert shown == (
        "purchase first written off: 2 queries stay counted as spent,"
        " 2 items can be bought again.\n"
    )
    assert main(["write-off", "second", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == 2
    assert main(["write-off", "first"]) == 2
    assert "error: no open purchases have a key that begins with" in capsys.readouterr().err
    assert main(["summary"]) == 0
    assert "Written off: counted as spent, no answer" in capsys.readouterr().out
    assert main(["write-off", "first", "--cache", str(bought / "no")]) == 2
    assert not (bought / "no").exists()


@pytest.mark.usefixtures("bought")
def test_the_old_command_name_still_works_and_names_the_new_name(
    cache: PaidCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts use it and read standard output, which stays the same."""
    cache.reserve(intent_of(*images(7, 8), name="first"), budget=100)
    assert main(["give-up", "first", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "idempotency_key": "first",
        "run": "run-1",
        "items": 2,
        "units": 2,
    }
    assert shown.err == (
        "cache-report: give-up is now called write-off; the old name still works\n"
    )
    assert [write_off.idempotency_key for write_off in cache.write_offs()] == ["first"]
