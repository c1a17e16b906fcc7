"""Reserving, committing and abandoning purchases."""

from __future__ import annotations

import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from cache.errors import (
    AlreadyPaid,
    CacheError,
    ClientBudgetExceeded,
    CorruptRow,
    InconsistentAnswer,
)
from cache.paid_cache import PaidCache, Refusal, Spend, now_ms
from cache.storage.row_codec import seal
from tests.support.cache_purchases import (
    FINGERPRINT,
    NOON,
    Ledger,
    buy,
    image,
    images,
    overwrite,
    run_record,
    tamper,
    text,
    vector_of,
)


def test_what_was_bought_is_there_when_the_cache_is_opened_again(
    folder: Path, ledger: Ledger
) -> None:
    """Vector, receipt and spend, bit by bit."""
    with PaidCache.open(folder) as cache:
        receipt = buy(cache, ledger, image(1), text("a cat"))
    with PaidCache.open(folder) as cache:
        found = cache.get(image(1))
        assert found is not None
        assert found.vector.tobytes() == vector_of(image(1)).tobytes()
        assert found.request_id == receipt.request_id
        assert list(cache.receipts()) == [receipt]
        assert cache.spend_on_record() == Spend(receipt_units=2, cost_micro_usd=200)


def test_a_second_run_finds_nothing_missing(cache: PaidCache, ledger: Ledger) -> None:
    """So it buys nothing."""
    buy(cache, ledger, *images(1, 2, 3))
    assert cache.missing(images(1, 2, 3)) == []


def test_missing_keys_are_named_once_in_the_order_in_which_they_were_seen(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A purchase is planned from them."""
    buy(cache, ledger, *images(2, 4))
    wanted = images(5, 4, 3, 5, 2, 1, 3)
    assert cache.missing(iter(wanted)) == list(images(5, 3, 1))


def test_more_keys_than_sqlite_takes_in_one_query_can_be_asked_for(
    cache: PaidCache, ledger: Ledger
) -> None:
    """A plan has tens of thousands."""
    buy(cache, ledger, *images(*range(0, 1200, 2)))
    assert cache.missing(images(*range(1200))) == list(images(*range(1, 1200, 2)))
    assert cache.fetch(images(*range(1200))).keys() == set(images(*range(0, 1200, 2)))


def test_no_keys_have_no_missing_keys(cache: PaidCache) -> None:
    """No keys, no query."""
    assert cache.missing([]) == []
    assert cache.fetch([]) == {}
    assert cache.refused([]) == {}


def test_an_embedding_that_was_never_bought_is_none(cache: PaidCache) -> None:
    """None instead of an error: it can be bought."""
    assert cache.get(image(1)) is None


def test_another_view_or_model_of_a_bought_image_is_missing(
    cache: PaidCache, ledger: Ledger
) -> None:
    """It is another embedding."""
    buy(cache, ledger, image(1))
    others = [image(1, view="crop/1@64#1"), image(1, fingerprint="sha256:other")]
    assert cache.missing(others) == others


def test_a_refused_item_is_remembered_with_the_reason(cache: PaidCache) -> None:
    """And not asked for again; the first reason stays."""
    cache.refuse(image(1), code="invalid_image", detail="truncated")
    cache.refuse(image(1), code="image_too_large", detail="later")
    expected = Refusal(key=image(1), code="invalid_image", detail="truncated", created_ms=NOON)
    assert cache.refused(images(1, 2)) == {image(1): expected}
    assert list(cache.refusals()) == [expected]
    assert cache.spend_on_record() == Spend()


def test_the_last_record_of_a_run_replaces_earlier_records(cache: PaidCache) -> None:
    """Recorded at the start with the plan, at the end with the outcome."""
    cache.record_run(run_record("run-1", bought_units=0))
    cache.record_run(run_record("run-2"))
    cache.record_run(run_record("run-1", bought_units=6))
    assert list(cache.runs()) == [run_record("run-1"), run_record("run-2")]
    assert run_record().saved_micro_usd == 400


def test_a_run_s_savings_are_the_price_of_its_hits(cache: PaidCache, folder: Path) -> None:
    """An image may cost several queries; older records count one query each."""
    record = run_record(already_paid=4, paid_units=10)
    cache.record_run(record)
    assert [run.saved_micro_usd for run in cache.runs()] == [1000]
    header = asdict(record)
    del header["paid_units"]
    overwrite(folder, "run/run-1", seal(header))
    assert [run.saved_micro_usd for run in cache.runs()] == [400]


def test_a_row_stored_under_a_text_name_is_corrupt(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Rows are stored under their digests."""
    buy(cache, ledger, image(1))
    tamper(folder, "UPDATE Cache SET key = 'x' WHERE tag = 'row'")
    with pytest.raises(CorruptRow, match="stored record x is corrupt"):
        list(cache.rows())


def test_the_folder_is_private(tmp_path: Path) -> None:
    """Also if it existed before with other permissions."""
    for folder in (tmp_path / "deep" / "new", tmp_path / "old"):
        if folder.name == "old":
            folder.mkdir(mode=0o755)
        PaidCache.open(folder).close()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_rows_come_in_the_order_in_which_they_were_bought(cache: PaidCache, ledger: Ledger) -> None:
    """One scan of the file."""
    buy(cache, ledger, *images(3, 1))
    buy(cache, ledger, *images(2))
    assert [row.key for row in cache.rows()] == list(images(3, 1, 2))


def test_a_cache_can_be_opened_twice_in_one_process(folder: Path, ledger: Ledger) -> None:
    """Each sees at once what the other has committed."""
    with PaidCache.open(folder) as first, PaidCache.open(folder) as other:
        buy(first, ledger, image(1))
        assert other.missing(images(1, 2)) == [image(2)]
        assert other.spend_on_record().receipt_units == 1


def test_every_error_is_a_cache_error() -> None:
    """A command line catches one base class."""
    for error in (AlreadyPaid, ClientBudgetExceeded, CorruptRow, InconsistentAnswer):
        assert issubclass(error, CacheError)


def test_the_clock_is_in_milliseconds() -> None:
    """As on the wire."""
    assert 1_700_000_000_000 < now_ms() < 10_000_000_000_000
    assert FINGERPRINT.startswith("sha256:")
