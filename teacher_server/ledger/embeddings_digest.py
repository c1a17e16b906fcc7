"""The digest of an answer's embeddings, by which a receipt commits to what it pays for.

SHA-256 over the vectors as little-endian float32, one after the other, in the order of the items.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from typing import Any


def embeddings_sha256(vectors: Iterable[bytes]) -> str:
    """The digest (hex) of vectors, each given as its little-endian float32 bytes."""
    digest = hashlib.sha256()
    for vector in vectors:
        digest.update(vector)
    return digest.hexdigest()


def digest_of_answer(answer: dict[str, Any]) -> str | None:
    """The digest of the embeddings in an answer's JSON, whether floats or base64.

    None if they cannot be read, are not numbered in their order, or are not float32 values.
    """
    try:
        rows = answer["data"]
        if [row["index"] for row in rows] != list(range(len(rows))):
            return None
        return embeddings_sha256(_wire_bytes(row["embedding"]) for row in rows)
    except (KeyError, TypeError, ValueError, OverflowError, struct.error):
        return None


def _wire_bytes(embedding: str | list[float]) -> bytes:
    if isinstance(embedding, str):
        return base64.b64decode(embedding, validate=True)
    layout = f"<{len(embedding)}f"
    vector = struct.pack(layout, *embedding)
    if struct.unpack(layout, vector) != tuple(embedding):
        message = "a value is not a float32"
        raise ValueError(message)
    return vector
