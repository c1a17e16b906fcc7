"""The quick way to read a row that is exactly as `encode_row` writes it.

Whatever is not gets None here, and `decode_row` says what it is. So nothing damaged is taken for
a row, and no error has two wordings.
"""

from __future__ import annotations

import re
import struct
from hashlib import blake2b
from typing import Final, NamedTuple

from cache.records.embedding_key import key_digest
from cache.records.purchase_records import PaidEmbedding
from cache.storage.row_codec import CHECKSUM_BYTES, MAGIC, VERSION

_PREFIX: Final = struct.Struct("<8sII")
_START: Final = MAGIC + bytes((VERSION, 0, 0, 0))
# JSON strings without escapes. A header with escapes is decoded the long way.
_TEXT: Final = rb'"([ !#-\[\]-~]*)"'
_FILLED_TEXT: Final = rb'"([ !#-\[\]-~]+)"'
_HEADER: Final = re.compile(
    rb'\{"created_ms":-?(?:0|[1-9][0-9]{0,17}),"dim":([1-9][0-9]{0,8}),"dtype":"<f4","key":'
    rb'(\{"item":"[0-9a-f]{64}","modality":"(image|text)","model_fingerprint":'
    + _FILLED_TEXT
    + rb',"params":'
    + _FILLED_TEXT.replace(b"(", b"(?:")
    + rb',"view":'
    + _FILLED_TEXT.replace(b"(", b"(?:")
    + rb'\}),"model":'
    + _TEXT.replace(b"(", b"(?:")
    + rb',"price_version":'
    + _TEXT.replace(b"(", b"(?:")
    + rb',"request_id":'
    + _TEXT
    + rb',"sent_sha256":'
    + _TEXT.replace(b"(", b"(?:")
    + rb"\}"
)


class PlainRow(NamedTuple):
    """What checks need of an intact row.

    `key` is the canonical JSON of its key, `vector` is little-endian float32 (`dim`,).
    """

    dim: int
    key: bytes
    modality: str
    model_fingerprint: str
    request_id: str
    vector: bytes


def read_plain_vector(digest: bytes, record: bytes) -> bytes | None:
    """Read the vector of the row under `digest`, as `read_plain_row` does."""
    header = _header(digest, record)
    return None if header is None else record[header.end() : -CHECKSUM_BYTES]


def read_plain_row(digest: bytes, record: bytes) -> PlainRow | None:
    """Read the row stored under `digest`, or return None if `decode_row` is to read it.

    A row that is returned has its checksum, belongs under `digest`, and is what `decode_row`
    returns for it.
    """
    header = _header(digest, record)
    if header is None:
        return None
    dim, key, modality, fingerprint, request_id = header.groups()
    return PlainRow(
        int(dim),
        key,
        modality.decode("ascii"),
        fingerprint.decode("ascii"),
        request_id.decode("ascii"),
        record[header.end() : -CHECKSUM_BYTES],
    )


def plain_row(row: PaidEmbedding) -> PlainRow:
    """Return a decoded row in the same form."""
    return PlainRow(
        int(row.vector.size),
        row.key.json().encode("ascii"),
        row.key.modality,
        row.key.model_fingerprint,
        row.request_id,
        row.vector.astype("<f4", copy=False).tobytes(),
    )


def _header(digest: bytes, record: bytes) -> re.Match[bytes] | None:
    """The header of an intact row that belongs under `digest` and needs no decoding."""
    if len(record) < _PREFIX.size:
        return None
    start, header_size, vector_size = _PREFIX.unpack_from(record)
    end = _PREFIX.size + header_size
    if start != _START or len(record) != end + vector_size + CHECKSUM_BYTES:
        return None
    checksum = blake2b(record[:-CHECKSUM_BYTES], digest_size=CHECKSUM_BYTES).digest()
    if checksum != record[-CHECKSUM_BYTES:]:
        return None
    header = _HEADER.fullmatch(record, _PREFIX.size, end)
    if header is None or 4 * int(header[1]) != vector_size or key_digest(header[2]) != digest:
        return None
    return header
