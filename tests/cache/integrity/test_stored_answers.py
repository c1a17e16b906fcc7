"""The digests of answers are made in the pass that reads the rows, and find all that they did."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cache.integrity import embedding_digests
from cache.integrity.verify import verify
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.storage.folder import DATABASE, RECEIPTS
from cache.storage.receipts_file import read_copies
from cache.storage.row_codec import encode_row
from tests.support.cache_command import problems
from tests.support.cache_purchases import (
    Ledger,
    buy,
    image,
    images,
    overwrite,
    tamper,
    text,
)
from tests.support.cache_repairs import receipt_record


def count_answers_read_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The requests whose rows are read a second time from now on."""
    found: list[str] = []
    read = embedding_digests._vectors_of

    def counted(cache: PaidCache, keys: tuple[EmbeddingKey, ...], request_id: str) -> object:
        found.append(request_id)
        return read(cache, keys, request_id)

    monkeypatch.setattr(embedding_digests, "_vectors_of", counted)
    return found


def test_an_answer_in_the_order_of_sending_is_read_once(
    cache: PaidCache, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside rows that another purchase had bought before."""
    read_again = count_answers_read_again(monkeypatch)
    buy(cache, ledger, *images(1, 2), text("a"))
    buy(cache, ledger, *images(2, 3), text("a"))
    assert verify(cache).is_sound
    assert read_again == []


def test_an_answer_whose_rows_came_back_later_is_read_again_and_sound(
    cache: PaidCache, ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are stored in another order than that of sending."""
    read_again = count_answers_read_again(monkeypatch)
    receipt = buy(cache, ledger, *images(1, 2, 3))
    buy(cache, ledger, image(4))
    (purchase,) = [one for one in read_copies(folder).purchases.values() if one.receipt == receipt]
    rows = [cache.fetch(purchase.keys)[key] for key in purchase.keys]
    tamper(folder, "DELETE FROM Cache WHERE key = ?", image(1).digest)
    assert cache.restore(purchase, rows) == 1
    assert verify(cache).is_sound
    assert read_again == [receipt.request_id]


def test_two_rows_that_exchanged_their_keys_but_not_their_places_are_found(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """Their vectors still have the receipt's digest in the order of storing."""
    receipt = buy(cache, ledger, *images(1, 2))
    one, other = (cache.fetch(images(1, 2))[key] for key in images(1, 2))
    exchanged = {b"1": replace(one, key=other.key), b"2": replace(other, key=one.key)}
    for name, row in zip(exchanged, (one, other), strict=True):
        tamper(folder, "UPDATE Cache SET key = ? WHERE key = ?", name, row.key.digest)
    for name, row in exchanged.items():
        overwrite(folder, name, encode_row(row))
        tamper(folder, "UPDATE Cache SET key = ? WHERE key = ?", row.key.digest, name)
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        sql = "SELECT key FROM Cache WHERE tag = 'row' ORDER BY rowid"
        assert [key for (key,) in connection.execute(sql)] == [other.key.digest, one.key.digest]
    ((record, detail),) = problems(cache)
    assert record == receipt_record(receipt)
    assert "its embeddings are not those that it pays for" in detail


def test_answers_of_two_vendors_with_one_request_id_are_both_checked(cache: PaidCache) -> None:
    """A row does not name its vendor, so their rows are read again under their keys."""
    receipts = [
        buy(cache, Ledger(), *images(1, 2), account="http://a#k1", name="a"),
        buy(cache, Ledger(), *images(3, 4), account="http://b#k2", name="b"),
    ]
    assert receipts[0].request_id == receipts[1].request_id
    assert verify(cache).is_sound
    rows = cache.fetch(images(3, 4))
    changed = replace(rows[image(3)], vector=rows[image(4)].vector)
    overwrite(cache.folder, image(3).digest, encode_row(changed))
    assert [name for name, _ in problems(cache)] == ["receipt/http://b#k2/req_0002"]


def test_a_damaged_line_does_not_hide_an_intact_line_of_the_same_receipt(
    cache: PaidCache, ledger: Ledger, folder: Path
) -> None:
    """The intact line still shows that the database lacks the receipt."""
    buy(cache, ledger, image(1))
    path = folder / RECEIPTS
    line = path.read_bytes()
    path.write_bytes(line + line.replace(image(1).item.encode(), b"0" * 64))
    tamper(folder, "DELETE FROM Cache WHERE tag IN ('receipt', 'paid', 'row')")
    with pytest.raises(Exception, match="has 1 receipts in"):
        PaidCache.open(folder)
