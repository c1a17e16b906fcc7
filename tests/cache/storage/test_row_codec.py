"""The format of a stored record."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cache.errors import CorruptRow
from cache.paid_cache import PaidEmbedding
from cache.storage.row_codec import (
    MAGIC,
    VERSION,
    decode_row,
    encode_row,
    seal,
    unseal,
    unseal_damaged,
)
from tests.support.cache_purchases import FINGERPRINT, MODEL, NOON, image, vector_of

vectors = hnp.arrays(np.float32, st.integers(1, 600), elements=st.floats(width=32))
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
headers = st.dictionaries(
    names, st.none() | st.booleans() | st.integers() | names | st.lists(names, max_size=3)
)


def paid(number: int = 1, vector: NDArray[np.float32] | None = None) -> PaidEmbedding:
    """A paid embedding of image `number`."""
    return PaidEmbedding(
        key=image(number),
        vector=vector_of(image(number)) if vector is None else vector,
        sent_sha256="5" * 64,
        model=MODEL,
        request_id="req_1",
        price_version="2026-11",
        created_ms=NOON,
    )


@given(vector=vectors, request_id=names, view=names, created_ms=st.integers(0, 2**53))
def test_an_embedding_comes_back_bit_by_bit(
    vector: NDArray[np.float32], request_id: str, view: str, created_ms: int
) -> None:
    """Infinities, NaN payloads and negative zeros included: it is what was paid for."""
    row = replace(paid(), vector=vector, request_id=request_id, created_ms=created_ms)
    row = replace(row, key=image(1, view=view))
    back = decode_row(row.key.digest, encode_row(row))
    assert back == row
    assert back.vector.tobytes() == vector.tobytes()
    assert back.vector.dtype == np.float32


@given(header=headers, payload=st.binary(max_size=100))
def test_a_record_decodes_to_what_was_encoded(header: dict[str, object], payload: bytes) -> None:
    """Whatever the header and payload are."""
    assert unseal("x", seal(header, payload)) == (header, payload)


@given(data=st.data())
@settings(max_examples=300)
def test_no_bit_can_change_unnoticed(data: st.DataObject) -> None:
    """Wherever it is: in the magic, the lengths, the header, the vector or the checksum."""
    row = paid()
    record = bytearray(encode_row(row))
    place = data.draw(st.integers(0, len(record) - 1))
    record[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CorruptRow) as caught:
        decode_row(row.key.digest, bytes(record))
    assert caught.value.name == row.key.digest.hex()


@given(length=st.integers(0, len(encode_row(paid())) - 1))
def test_a_truncated_record_is_corrupt_at_every_length(length: int) -> None:
    """Part of a record is not a record."""
    row = paid()
    with pytest.raises(CorruptRow):
        decode_row(row.key.digest, encode_row(row)[:length])


@given(noise=st.binary(max_size=300))
def test_random_bytes_are_corrupt(noise: bytes) -> None:
    """No input makes the reader fail in another way."""
    with pytest.raises(CorruptRow):
        unseal("x", noise)
    with pytest.raises(CorruptRow):
        unseal_damaged("x", noise)


@given(tail=st.binary(min_size=1, max_size=40))
def test_a_record_with_extra_bytes_is_corrupt(tail: bytes) -> None:
    """Its length is stated."""
    with pytest.raises(CorruptRow):
        unseal("x", encode_row(paid()) + tail)


def test_a_record_can_be_decoded_without_this_program() -> None:
    """Its layout is the one that the module's docstring states."""
    row = paid()
    record = encode_row(row)
    magic, version, header_size, payload_size = struct.unpack_from("<4sB3xII", record)
    header = json.loads(record[16 : 16 + header_size])
    payload = record[16 + header_size : 16 + header_size + payload_size]
    assert (magic, version) == (MAGIC, VERSION)
    assert header == {
        "dtype": "<f4",
        "dim": 8,
        "key": {
            "model_fingerprint": FINGERPRINT,
            "modality": "image",
            "item": row.key.item,
            "view": "original",
            "params": "normalized",
        },
        "model": MODEL,
        "sent_sha256": "5" * 64,
        "request_id": "req_1",
        "price_version": "2026-11",
        "created_ms": NOON,
    }
    np.testing.assert_array_equal(np.frombuffer(payload, "<f4"), row.vector)


def test_a_row_filed_under_another_key_is_corrupt() -> None:
    """A copied record would give one image the embedding of another."""
    record = encode_row(paid(1))
    with pytest.raises(CorruptRow, match=image(1).digest.hex()) as caught:
        decode_row(image(2).digest, record)
    assert caught.value.name == image(2).digest.hex()


def test_the_error_says_which_row_and_what_is_wrong() -> None:
    """A user can search for it."""
    record = encode_row(paid())
    with pytest.raises(CorruptRow, match="its checksum does not match") as caught:
        decode_row(image(1).digest, record[:-1] + bytes([record[-1] ^ 1]))
    assert image(1).digest.hex() in str(caught.value)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros((2, 4), np.float32),
        np.zeros(0, np.float32),
        np.zeros(8, np.float64),
        np.zeros(8, np.float16),
        np.zeros(8, np.int32),
    ],
)
def test_only_a_float32_vector_is_encoded(vector: NDArray[np.float32]) -> None:
    """What is stored is exactly what was paid for, never a conversion of it."""
    with pytest.raises(ValueError, match="float32 vector"):
        encode_row(paid(vector=vector))


def test_a_vector_is_stored_little_endian_on_any_machine() -> None:
    """A cache may be copied to another architecture."""
    big = paid(vector=vector_of(image(1)).astype(">f4"))
    assert encode_row(big) == encode_row(paid())


def test_a_decoded_vector_is_read_only() -> None:
    """A caller cannot change it for others by mistake."""
    back = decode_row(image(1).digest, encode_row(paid()))
    with pytest.raises(ValueError, match="read-only"):
        back.vector[0] = 0.0


@pytest.mark.parametrize(
    ("header", "payload", "reason"),
    [
        ({}, b"", "its payload is not the vector"),
        ({"dtype": "<f8", "dim": 1}, b"\0" * 8, "its payload is not the vector"),
        ({"dtype": "<f4", "dim": 2}, b"\0" * 4, "its payload is not the vector"),
        ({"dtype": "<f4", "dim": "2"}, b"\0" * 4, "its payload is not the vector"),
        ({"dtype": "<f4", "dim": 1}, b"\0" * 4, "its header cannot be read"),
        ({"dtype": "<f4", "dim": 1, "key": {"item": 1}}, b"\0" * 4, "its header cannot be read"),
        ({"dtype": "<f4", "dim": 1, "key": 7}, b"\0" * 4, "its header cannot be read"),
    ],
)
def test_a_valid_record_that_is_not_a_row_is_corrupt(
    header: dict[str, object], payload: bytes, reason: str
) -> None:
    """A correct checksum is not enough."""
    with pytest.raises(CorruptRow, match=reason):
        decode_row(image(1).digest, seal(header, payload))


def test_a_record_of_a_newer_format_is_reported() -> None:
    """It is not taken for damage."""
    record = bytearray(seal({}))
    record[4] = VERSION + 1
    with pytest.raises(CorruptRow, match="format 2; this program reads 1"):
        unseal_damaged("x", bytes(record))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "0 bytes are too few"),
        (b"\0" * 31, "31 bytes are too few"),
        (b"\x80\x04" + b"\0" * 40, "it starts with"),
        (seal({}) + b"\0", "its length is not the length that it states"),
    ],
)
def test_an_invalid_record_is_reported_with_its_fault(record: bytes, reason: str) -> None:
    """A pickle, for example, starts with other bytes."""
    with pytest.raises(CorruptRow, match=reason):
        unseal_damaged("x", record)


@pytest.mark.parametrize("text", [b"[]", b"1", b"{", b"\xff"])
def test_a_header_that_is_not_an_object_is_corrupt(text: bytes) -> None:
    """Whatever else it is."""
    record = struct.pack("<4sB3xII", MAGIC, VERSION, len(text), 0) + text + b"\0" * 16
    with pytest.raises(CorruptRow, match="its header is not"):
        unseal_damaged("x", record)


def test_a_damaged_record_can_still_be_read_for_a_report() -> None:
    """An audit names the altered field."""
    record = seal({"units": 12}).replace(b"12", b"13")
    with pytest.raises(CorruptRow):
        unseal("x", record)
    assert unseal_damaged("x", record) == ({"units": 13}, b"")


def test_embeddings_are_equal_only_bit_by_bit() -> None:
    """And can be put in sets."""
    near = paid(vector=np.nextafter(vector_of(image(1)), np.float32(2)))
    assert paid() == paid()
    assert paid() != near
    assert paid() != replace(paid(), request_id="req_2")
    assert paid() != "a row"
    assert len({paid(), paid(), near}) == 2
