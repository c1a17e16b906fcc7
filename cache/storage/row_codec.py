"""The format of a stored record: self-describing, with a checksum.

    4 bytes magic | 1 version | 3 zero | u32 header length | u32 payload length
    header, canonical JSON | payload | 16 bytes BLAKE2b over everything before

All integers are little-endian. An embedding's payload is its vector in little-endian float32.
"""

from __future__ import annotations

import hashlib
import json
import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np

from cache.errors import CorruptRow
from cache.records.canonical_json import canonical_json
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import PaidEmbedding

MAGIC: Final = b"PAID"
VERSION: Final = 1
_PREFIX: Final = struct.Struct("<4sB3xII")
CHECKSUM_BYTES: Final = 16
_DTYPE: Final = "<f4"


def seal(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Encode `header` and `payload` as one record with its checksum."""
    return seal_json(canonical_json(header), payload)


def seal_json(header: bytes, payload: bytes = b"") -> bytes:
    """Encode a header that is canonical JSON already."""
    prefix = _PREFIX.pack(MAGIC, VERSION, len(header), len(payload))
    body = b"".join((prefix, header, payload))
    return body + _checksum(body)


def unseal(name: str, record: bytes) -> tuple[dict[str, Any], bytes]:
    """Decode a record to header and payload. Raises CorruptRow if any bit has changed."""
    if record[-CHECKSUM_BYTES:] != _checksum(record[:-CHECKSUM_BYTES]):
        raise CorruptRow(name, "its checksum does not match its bytes")
    return unseal_damaged(name, record)


def unseal_damaged(name: str, record: bytes) -> tuple[dict[str, Any], bytes]:
    """Decode a record without checking its checksum. For repair and reports only."""
    if len(record) < _PREFIX.size + CHECKSUM_BYTES:
        raise CorruptRow(name, f"{len(record)} bytes are too few for a record")
    magic, version, header_size, payload_size = _PREFIX.unpack_from(record)
    if magic != MAGIC:
        raise CorruptRow(name, f"it starts with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise CorruptRow(name, f"it has format {version}; this program reads {VERSION}")
    if len(record) != _PREFIX.size + header_size + payload_size + CHECKSUM_BYTES:
        raise CorruptRow(name, "its length is not the length that it states")
    end = _PREFIX.size + header_size
    try:
        header = json.loads(record[_PREFIX.size : end])
    except ValueError as error:
        raise CorruptRow(name, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise CorruptRow(name, "its header is not a JSON object")
    return header, record[end : end + payload_size]


def encode_row(row: PaidEmbedding) -> bytes:
    """Encode one paid embedding. Raises ValueError unless its vector is float32 (D,)."""
    vector = row.vector
    if vector.ndim != 1 or vector.size == 0 or vector.dtype.newbyteorder("<") != _DTYPE:
        message = f"an embedding is a float32 vector, not {vector.dtype} of shape {vector.shape}"
        raise ValueError(message)
    before_key, after_key = _shared_fields(
        int(vector.size), row.model, row.request_id, row.price_version, row.created_ms
    )
    sent = canonical_json(row.sent_sha256)
    header = b"".join((before_key, row.key.json().encode("ascii"), after_key, sent, b"}"))
    return seal_json(header, vector.astype(_DTYPE, copy=False).tobytes())


@lru_cache(maxsize=64, typed=True)
def _shared_fields(
    dim: int, model: str, request_id: str, price_version: str, created_ms: int
) -> tuple[bytes, bytes]:
    """The JSON around the key in the header of a row, which the rows of one answer share."""
    before = canonical_json({"created_ms": created_ms, "dim": dim, "dtype": _DTYPE})
    after = canonical_json(
        {"model": model, "price_version": price_version, "request_id": request_id}
    )
    return before[:-1] + b',"key":', b"," + after[1:-1] + b',"sent_sha256":'


def decode_row(digest: bytes, record: bytes) -> PaidEmbedding:
    """Decode the embedding stored under `digest`; its vector is read-only. Raises CorruptRow."""
    name = digest.hex()
    header, payload = unseal(name, record)
    if header.get("dtype") != _DTYPE or len(payload) != 4 * header.get("dim", -1):
        raise CorruptRow(name, "its payload is not the vector that its header describes")
    try:
        row = PaidEmbedding(
            key=EmbeddingKey(**header["key"]),
            vector=np.frombuffer(payload, dtype=_DTYPE),
            sent_sha256=header["sent_sha256"],
            model=header["model"],
            request_id=header["request_id"],
            price_version=header["price_version"],
            created_ms=header["created_ms"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptRow(name, f"its header cannot be read ({error})") from error
    if row.key.digest != digest:
        raise CorruptRow(name, f"it holds the embedding of {row.key.digest.hex()}")
    return row


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest()
