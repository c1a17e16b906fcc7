"""What a purchase says about a receipts.jsonl that is not as it was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.integrity.second_copy import second_copy_faults
from cache.paid_cache import PaidCache
from cache.records.receipt import Receipt
from cache.storage.folder import RECEIPTS
from tests.support.cache_purchases import Ledger, buy, image
from tests.support.cache_repairs import repair

pytestmark = pytest.mark.usefixtures("receipts")


def lines_of(folder: Path) -> list[bytes]:
    return (folder / RECEIPTS).read_bytes().splitlines(keepends=True)


def test_an_untouched_file_has_no_fault(cache: PaidCache) -> None:
    assert second_copy_faults(cache) == []


def test_a_changed_byte_is_named_by_its_line_and_mended_by_the_repair(
    cache: PaidCache, folder: Path, receipts: list[Receipt]
) -> None:
    first, second, third = lines_of(folder)
    changed = second.replace(receipts[1].request_id.encode(), b"req_9999")
    (folder / RECEIPTS).write_bytes(first + changed + third)
    damaged, lacking = second_copy_faults(cache)
    assert "line 2 is not what was written (its sha256 does not match" in damaged
    assert "lacks 1 of 3 receipts" in lacking
    command = f"`cache-report --cache {folder} verify --repair` mends it"
    assert command in damaged
    assert command in lacking
    repair(folder)
    assert second_copy_faults(cache) == []


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_shortened_file_is_counted_and_mended_by_the_repair(
    cache: PaidCache, folder: Path, kept: int
) -> None:
    (folder / RECEIPTS).write_bytes(b"".join(lines_of(folder)[:kept]))
    (fault,) = second_copy_faults(cache)
    assert f"lacks {3 - kept} of 3 receipts" in fault
    repair(folder)
    assert second_copy_faults(cache) == []


def test_a_missing_file_is_a_shortened_one(cache: PaidCache, folder: Path) -> None:
    (folder / RECEIPTS).unlink()
    (fault,) = second_copy_faults(cache)
    assert "lacks 3 of 3 receipts" in fault


def test_a_torn_last_line_is_named_with_its_receipt(cache: PaidCache, folder: Path) -> None:
    content = (folder / RECEIPTS).read_bytes()
    (folder / RECEIPTS).write_bytes(content[:-100])
    lacking, torn = second_copy_faults(cache)
    assert "lacks 1 of 3 receipts" in lacking
    assert "ends in an incomplete line" in torn
    assert "verify --repair` mends it now" in torn
    repair(folder)
    assert second_copy_faults(cache) == []


def test_a_torn_line_of_a_commit_that_did_not_happen_goes_with_the_next_receipt(
    cache: PaidCache, folder: Path, ledger: Ledger
) -> None:
    with (folder / RECEIPTS).open("ab") as file:
        file.write(b'{"account":"http://vendor')
    (torn,) = second_copy_faults(cache)
    assert "ends in an incomplete line of 25 bytes" in torn
    assert "nothing is lost" in torn
    buy(cache, ledger, image(9))
    assert second_copy_faults(cache) == []


def test_a_last_line_without_its_line_break_is_whole(cache: PaidCache, folder: Path) -> None:
    content = (folder / RECEIPTS).read_bytes()
    (folder / RECEIPTS).write_bytes(content[:-1])
    assert second_copy_faults(cache) == []
