"""receipts.jsonl: the second copy of the receipts."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.errors import CacheUnavailable
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache, Purchase
from cache.records.receipt import Receipt
from cache.storage.folder import RECEIPTS
from cache.storage.missing_rows import find_missing_rows
from cache.storage.receipts_file import append, decode_line, encode_line, read_copies
from tests.support.cache_command import problems
from tests.support.cache_purchases import (
    ACCOUNT,
    Ledger,
    buy,
    image,
    images,
    intent_of,
    rows_of,
    text,
)


def purchase_of(receipt: Receipt, *numbers: int) -> Purchase:
    """The purchase of these images."""
    return Purchase(account=ACCOUNT, run="run-1", receipt=receipt, keys=images(*numbers))


def lines(folder: Path) -> list[bytes]:
    """The file as it is."""
    return (folder / RECEIPTS).read_bytes().splitlines(keepends=True)


def test_each_purchase_is_a_line_with_its_keys_in_the_order_of_sending(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Readable by anything that reads JSON, by nobody but its owner."""
    receipt = buy(cache, ledger, image(2), text("a"), image(1))
    buy(cache, ledger, image(3))
    first, second = (json.loads(line) for line in lines(folder))
    assert first["receipt"] == receipt.entry()
    assert first["account"] == ACCOUNT
    assert first["keys"] == [key.fields() for key in (image(2), text("a"), image(1))]
    assert len(second["keys"]) == 1
    assert stat.S_IMODE((folder / RECEIPTS).stat().st_mode) == 0o600


def test_a_purchase_comes_back_as_it_was(cache: PaidCache, ledger: Ledger, folder: Path) -> None:
    """Field by field, once an account and request."""
    receipt = buy(cache, ledger, *images(1, 2))
    copies = read_copies(folder)
    assert copies.purchases == {(ACCOUNT, receipt.request_id): purchase_of(receipt, 1, 2)}
    assert copies.damaged == ()


def test_a_receipt_committed_again_has_one_line(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """A replay is the same purchase, and a repeated line counts once."""
    intent = intent_of(image(1))
    receipt = buy(cache, ledger, image(1))
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert len(lines(folder)) == 1
    append(folder, [purchase_of(receipt, 1)])
    assert len(read_copies(folder).purchases) == 1
    assert verify(cache).is_sound


def test_a_line_that_cannot_be_written_stops_the_commit(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The answer is not lost: its intent is open and the vendor has it."""
    (folder / RECEIPTS).mkdir()
    intent = intent_of(image(1))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    with pytest.raises(CacheUnavailable, match="second copy") as caught:
        cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert "was charged (1 queries) but is not stored: the next run fetches it" in str(caught.value)
    assert cache.open_intents() == [intent]
    assert list(cache.receipts()) == []
    assert cache.missing([image(1)]) == [image(1)]
    (folder / RECEIPTS).rmdir()
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert verify(cache).is_sound


def test_a_line_of_a_commit_that_did_not_happen_is_accepted(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Killed between the line and the commit: the intent is open, and is settled like any other."""
    intent = intent_of(image(1))
    cache.reserve(intent, budget=10)
    receipt = ledger.charge(intent)
    append(folder, [purchase_of(receipt, 1)])
    assert verify(cache).is_sound
    assert find_missing_rows(cache) == []
    cache.commit(intent, rows_of(intent, receipt), receipt, account=ACCOUNT)
    assert verify(cache).is_sound


@given(cut=st.integers(0, 2000))
def test_an_incomplete_last_line_is_accepted_and_repaired(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    """Whatever part of it a kill left, even if only the line break is missing."""
    folder = tmp_path_factory.mktemp("torn")
    ledger = Ledger()
    whole, torn, after = (
        purchase_of(ledger.charge(intent_of(image(number))), number) for number in (1, 2, 3)
    )
    line = encode_line(torn)
    kept = line[: min(cut, len(line) - 1)]
    (folder / RECEIPTS).write_bytes(encode_line(whole) + kept)
    read = [whole, torn] if len(kept) == len(line) - 1 else [whole]
    assert read_copies(folder).damaged == ()
    assert list(read_copies(folder).purchases.values()) == read
    append(folder, [after])
    assert read_copies(folder).damaged == ()
    assert list(read_copies(folder).purchases.values()) == [*read, after]


def test_an_incomplete_line_longer_than_one_read_is_repaired(tmp_path: Path) -> None:
    """The end of the last whole line is searched for as far back as necessary."""
    receipt = Ledger().charge(intent_of(image(1)))
    (tmp_path / RECEIPTS).write_bytes(encode_line(purchase_of(receipt, 1)) + b"x" * 200_000)
    append(tmp_path, [])
    assert lines(tmp_path) == [encode_line(purchase_of(receipt, 1))]


@given(data=st.data())
def test_no_bit_of_a_line_can_change_unnoticed(data: st.DataObject) -> None:
    """Neither in the receipt nor in its keys."""
    line = encode_line(purchase_of(Ledger().charge(intent_of(*images(1, 2))), 1, 2))[:-1]
    changed = bytearray(line)
    changed[data.draw(st.integers(0, len(line) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"line of this file|sha256|version|fields"):
        decode_line(bytes(changed))


def test_a_damaged_line_is_named_and_the_others_are_read(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Its receipt is still in the database."""
    buy(cache, ledger, image(1))
    buy(cache, ledger, image(2))
    first, second = lines(folder)
    (folder / RECEIPTS).write_bytes(first.replace(b'"units":1', b'"units":2') + second)
    assert problems(cache) == [
        ("receipts.jsonl line 1", "its sha256 does not match the rest of the line")
    ]
    assert verify(cache).receipts_without_copy == 1


def test_a_receipt_that_only_the_second_copy_has_is_named(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """It has no open purchase: the database lost the receipt."""
    receipt = ledger.charge(intent_of(image(1)))
    append(folder, [purchase_of(receipt, 1)])
    assert problems(cache) == [
        (
            f"receipt/{ACCOUNT}/{receipt.request_id}",
            "it is in receipts.jsonl but not in the database",
        )
    ]


def test_a_cache_from_before_the_second_copy_is_sound(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The number of receipts without a copy is reported, and new receipts get a copy."""
    buy(cache, ledger, image(1))
    (folder / RECEIPTS).unlink()
    assert verify(cache).is_sound
    assert verify(cache).receipts_without_copy == 1
    buy(cache, ledger, image(2))
    assert verify(cache).receipts_without_copy == 1
    assert len(lines(folder)) == 1


def test_an_unreadable_second_copy_is_reported(folder: Path, cache: PaidCache) -> None:
    """A sentence and not a traceback."""
    os.mkdir(folder / RECEIPTS)  # noqa: PTH102
    with pytest.raises(CacheUnavailable, match="cannot read"):
        verify(cache)
