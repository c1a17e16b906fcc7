""" "database disk image is malformed": a new database out of the old one and the second copies."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cache.errors import CacheUnavailable
from cache.integrity.quarantine import Quarantine
from cache.integrity.repair import Repair
from cache.integrity.repair import repair as repair_now
from cache.integrity.salvage import salvage_database
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Spend
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.reader import CacheReader
from tests.support.cache_purchases import (
    NOON,
    Ledger,
    buy,
    count_free_pages,
    image,
    images,
    intent_of,
    rows_of,
)

PAGE = 16384


def repair(folder: Path) -> Repair:
    """A repair with a fixed clock."""
    return repair_now(folder, patience_s=2.0, clock=lambda: NOON)


@pytest.fixture(scope="session")
def big_cache(empty_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed cache of 90 purchases and one open purchase, over many pages of the file."""
    folder = Path(shutil.copytree(empty_cache, tmp_path_factory.mktemp("big") / "paid-cache"))
    ledger = Ledger()
    with PaidCache.open(folder) as cache:
        for number in range(90):
            buy(cache, ledger, *images(2 * number, 2 * number + 1), name=f"p{number}")
        cache.reserve(intent_of(image(1000), name="open"), budget=1000)
    return folder


@pytest.fixture
def malformed(big_cache: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(big_cache, tmp_path / "paid-cache"))


def wipe_pages(folder: Path, *pages: int, content: bytes | None = None) -> None:
    """Overwrite these pages of the database."""
    with (folder / DATABASE).open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE) if content is None else content * PAGE)


def replayed(folder: Path) -> tuple[Spend, int]:
    """The spend and the rows after all missing rows are replayed; the cache is sound then."""
    with PaidCache.open(folder) as cache:
        for lost in find_missing_rows(cache):
            cache.restore(lost.purchase, rows_of(lost.purchase.intent, lost.purchase.receipt))
        assert verify(cache).problems == ()
        return cache.spend_on_record(), sum(1 for _ in cache.rows())


@pytest.mark.parametrize("pages", [(3,), (5, 6, 7), (2, 9)])
def test_a_malformed_database_is_rebuilt_without_losing_a_receipt(
    malformed: Path, pages: tuple[int, ...]
) -> None:
    """diskcache #67, #279, #345: there the cache is lost, and what it cost with it."""
    wipe_pages(malformed, *pages)
    with pytest.raises(CacheUnavailable):
        PaidCache.open(malformed)
    result = repair(malformed)
    assert result.moved[0].name == DATABASE
    assert (malformed / "quarantine" / "20251124T160000.000Z" / DATABASE).is_file()
    with CacheReader.open(malformed) as records:
        assert sum(1 for _ in records.receipts()) == 90
        assert records.spend_on_record().receipt_units == 180
    assert all(short.is_replayable for short in result.shortages)
    spend, rows = replayed(malformed)
    assert rows == 180
    assert (spend.receipt_units, spend.cost_micro_usd) == (180, 18_000)
    assert not repair(malformed).changed


def test_a_wiped_index_loses_no_row(malformed: Path) -> None:
    """The table itself is intact."""
    with closing(sqlite3.connect(malformed / DATABASE)) as connection:
        sql = "SELECT rootpage FROM sqlite_master WHERE name = 'Cache_expire_time'"
        ((page,),) = connection.execute(sql).fetchall()
    wipe_pages(malformed, page - 1, content=b"\0")
    result = repair(malformed)
    assert result.shortages == ()
    assert result.verification.is_sound
    assert replayed(malformed) == (
        Spend(receipt_units=180, open_units=1, cost_micro_usd=18_000),
        180,
    )


def test_a_false_header_loses_nothing(malformed: Path) -> None:
    """Every record can still be read."""
    count_free_pages(malformed, 5)
    assert repair(malformed).verification.is_sound


@pytest.mark.parametrize("damage", ["header", "schema", "empty", "gone"])
def test_an_unreadable_database_is_rebuilt_from_the_second_copies(
    malformed: Path, damage: str
) -> None:
    """All receipts at once, all rows by free replay."""
    database = malformed / DATABASE
    if damage == "gone":
        database.unlink()
        with pytest.raises(CacheUnavailable, match="verify --repair"):
            PaidCache.open(malformed)
    elif damage == "empty":
        database.write_bytes(b"")
    elif damage == "header":
        wipe_pages(malformed, 0)
    else:
        database.write_bytes(database.read_bytes()[:PAGE])
    result = repair(malformed)
    assert len(result.shortages) == 90
    assert ("intents" in [record.name for record in result.moved]) == (
        damage in ("header", "schema")
    )
    assert sum(short.rebuy_micro_usd for short in result.shortages) == 18_000
    spend, rows = replayed(malformed)
    assert (spend.receipt_units, rows) == (180, 180)


def test_open_queries_without_a_record_stay_counted(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The totals survived and the open purchases did not: they count against the budget."""
    for number in range(200):
        cache.reserve(intent_of(image(number), name=f"p{number}"), budget=1000)
    buy(cache, ledger, image(1000))
    before = cache.spend_on_record().committed_units
    cache.close()
    place = (folder / DATABASE).read_bytes().index(b'"idempotency_key":"p100"')
    wipe_pages(folder, place // PAGE)
    repair(folder)
    with PaidCache.open(folder) as rebuilt:
        assert rebuilt.spend_on_record().committed_units == before
        assert 0 < len(rebuilt.open_intents()) < 200
        (write_off,) = rebuilt.write_offs()
        assert write_off.units == 200 - len(rebuilt.open_intents())
        assert verify(rebuilt).is_sound


def test_a_repair_killed_before_its_last_step_is_completed_by_the_next(
    malformed: Path,
) -> None:
    """The new database was complete, the old one already in quarantine."""
    wipe_pages(malformed, 3)
    copy = malformed.parent / "copy"
    shutil.copytree(malformed, copy)
    salvage_database(copy, Quarantine(folder=copy, created_ms=NOON), patience_s=2.0)
    (malformed / "rebuilt").mkdir()
    shutil.copy(copy / DATABASE, malformed / "rebuilt" / DATABASE)
    (malformed / DATABASE).unlink()
    result = repair(malformed)
    assert "was interrupted" in result.moved[0].detail
    assert replayed(malformed)[1] == 180
    assert not (malformed / "rebuilt").exists()


def test_a_repair_killed_while_reading_starts_again(malformed: Path) -> None:
    """An incomplete new database is discarded."""
    wipe_pages(malformed, 3)
    (malformed / "rebuilding").mkdir()
    (malformed / "rebuilding" / DATABASE).write_bytes(b"half")
    repair(malformed)
    assert replayed(malformed)[1] == 180


def test_a_file_that_was_never_a_cache_is_left_alone(tmp_path: Path) -> None:
    """It may be another program's file."""
    (tmp_path / DATABASE).write_bytes(b"dear diary" * 100)
    with pytest.raises(CacheUnavailable, match="not a cache"):
        repair(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == b"dear diary" * 100
    assert not (tmp_path / RECEIPTS).exists()


def test_a_locked_database_is_not_taken_for_a_malformed_one(malformed: Path) -> None:
    """Nothing is moved."""
    with closing(sqlite3.connect(malformed / DATABASE, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(CacheUnavailable, match=r"locked|in use"):
            repair_now(malformed, patience_s=0.2)
    assert not (malformed / "quarantine").exists()
    assert repair(malformed).verification.is_sound
