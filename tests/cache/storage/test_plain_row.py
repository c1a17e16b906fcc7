"""The quick way to read a row finds exactly what the long way finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.embedding_table import materialise
from cache.errors import CorruptRow
from cache.paid_cache import PaidCache, PaidEmbedding
from cache.storage.plain_row import plain_row, read_plain_row
from cache.storage.row_codec import decode_row, encode_row, seal
from tests.support.cache_purchases import (
    FINGERPRINT,
    MODEL,
    NOON,
    Ledger,
    buy,
    image,
    images,
    overwrite,
    text,
    vector_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
keys = st.builds(
    replace,
    st.sampled_from([image(1), text("a cat")]),
    model_fingerprint=texts.filter(bool),
    view=texts.filter(bool),
    params=texts.filter(bool),
)
rows = st.builds(
    PaidEmbedding,
    key=keys,
    vector=st.integers(1, 40).map(lambda dim: vector_of(image(1), dim)),
    sent_sha256=texts,
    model=texts,
    request_id=texts,
    price_version=texts,
    created_ms=st.integers(-(2**70), 2**70),
)


def paid(number: int = 1) -> PaidEmbedding:
    """A row as a vendor sells it."""
    return PaidEmbedding(
        key=image(number),
        vector=vector_of(image(number)),
        sent_sha256=image(number).item,
        model=MODEL,
        request_id="req_0001",
        price_version="2026-11",
        created_ms=NOON,
    )


@given(row=rows)
def test_a_row_that_is_read_the_quick_way_is_the_row_that_is_decoded(row: PaidEmbedding) -> None:
    """Whatever its fields are, also those that the quick way leaves to the long way."""
    record = encode_row(row)
    found = read_plain_row(row.key.digest, record)
    assert found in (None, plain_row(decode_row(row.key.digest, record)))


def test_a_row_as_vendors_sell_it_is_read_the_quick_way() -> None:
    """Otherwise nothing would be gained."""
    assert read_plain_row(image(1).digest, encode_row(paid())) == plain_row(paid())


def test_a_field_with_an_escape_is_left_to_the_long_way() -> None:
    """The quick way reads JSON only as far as it needs no decoding."""
    row = replace(paid(), request_id='req "é"')
    assert read_plain_row(image(1).digest, encode_row(row)) is None
    assert decode_row(image(1).digest, encode_row(row)) == row


@given(place=st.integers(0, len(encode_row(paid())) - 1), change=st.integers(1, 255))
def test_no_byte_can_change_unnoticed_on_either_way(place: int, change: int) -> None:
    """Whatever byte of the record it is."""
    record = bytearray(encode_row(paid()))
    record[place] ^= change
    assert read_plain_row(image(1).digest, bytes(record)) is None
    with pytest.raises(CorruptRow):
        decode_row(image(1).digest, bytes(record))


@given(size=st.integers(0, len(encode_row(paid())) + 20))
def test_a_record_of_another_length_is_not_read_the_quick_way(size: int) -> None:
    """Cut short, or with bytes after its end."""
    record = encode_row(paid())
    if size != len(record):
        assert read_plain_row(image(1).digest, record[:size].ljust(size, b"\0")) is None


def test_a_row_under_the_name_of_another_is_not_read_the_quick_way() -> None:
    """It would give an image the embedding of another."""
    assert read_plain_row(image(2).digest, encode_row(paid(1))) is None


FIELDS = {
    "created_ms": NOON,
    "dim": 8,
    "dtype": "<f4",
    "key": image(1).fields(),
    "model": MODEL,
    "price_version": "2026-11",
    "request_id": "req_0001",
    "sent_sha256": image(1).item,
}
VECTOR = vector_of(image(1)).tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 7},
        {"dim": "8"},
        {"dtype": "<f8"},
        {"key": image(1).fields() | {"item": "x"}},
        {"key": image(1).fields() | {"view": ""}},
        {"key": image(1).fields() | {"modality": "sound"}},
        {"key": image(2).fields()},
        {"key": None},
    ],
)
def test_a_false_header_with_a_true_checksum_is_not_read_the_quick_way(
    changes: dict[str, object],
) -> None:
    """What the long way calls corrupt."""
    record = seal(FIELDS | changes, VECTOR)
    assert read_plain_row(image(1).digest, record) is None
    with pytest.raises(CorruptRow):
        decode_row(image(1).digest, record)


def test_a_header_with_a_field_more_is_left_to_the_long_way() -> None:
    """It may come from a newer program."""
    record = seal(FIELDS | {"region": "eu"}, VECTOR)
    assert read_plain_row(image(1).digest, seal(FIELDS, VECTOR)) is not None
    assert read_plain_row(image(1).digest, record) is None
    assert decode_row(image(1).digest, record) == paid()


@pytest.mark.parametrize("place", range(0, len(encode_row(paid())), 37))
def test_a_changed_byte_is_reported_by_a_table_as_by_the_long_way(
    cache: PaidCache, ledger: Ledger, folder: Path, tmp_path: Path, place: int
) -> None:
    """With the same name and reason."""
    buy(cache, ledger, *images(1, 2))
    found = cache.get(image(2))
    assert found is not None
    record = bytearray(encode_row(found))
    record[place] ^= 1
    overwrite(folder, image(2).digest, bytes(record))
    with pytest.raises(CorruptRow) as long_way:
        decode_row(image(2).digest, bytes(record))
    with pytest.raises(CorruptRow) as table:
        materialise(cache, images(1, 2), tmp_path / "table")
    assert str(table.value) == str(long_way.value)


def test_rows_of_both_ways_make_one_table(cache: PaidCache, ledger: Ledger, tmp_path: Path) -> None:
    """A view may have a name with an escape in it."""
    mixed = [image(1), image(2, view='a "view"'), image(3)]
    buy(cache, ledger, *mixed)
    table = materialise(cache, mixed, tmp_path / "table")
    assert table.model_fingerprint == FINGERPRINT
    assert table.vectors.tobytes() == b"".join(vector_of(key).tobytes() for key in mixed)
