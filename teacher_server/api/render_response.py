"""Renders the answer to a purchase as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import numpy as np

from teacher_server.api.parse_request import EncodingFormat, ParsedRequest
from teacher_server.inference.batcher import Vector
from teacher_server.inference.model_info import ModelInfo
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.purchase import Reservation


def render_head(
    vectors: Sequence[Vector],
    reservation: Reservation,
    *,
    parsed: ParsedRequest,
    info: ModelInfo,
    tokens: int,
    cut: Sequence[int] = (),
) -> bytes:
    """The answer without its receipt, as a JSON object; receipts are added by `with_receipt`.

    `tokens` is the sum over all texts, and `cut` the indexes of the texts that were cut.
    """
    # Rendered before the charge's transaction, which then only adds the receipt. The database's
    # write lock is not held while a hundred thousand floats are formatted.
    document = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector, parsed.encoding_format),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": info.id,
        "model_fingerprint": info.fingerprint,
        "model_fingerprint_v2": info.fingerprint_v2,
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "images": parsed.images,
            "texts": parsed.texts,
            "billed_units": reservation.units,
            "cost_micro_usd": reservation.price.cost(reservation.units),
            "price_version": reservation.price.version,
        },
        **({"truncated": list(cut)} if parsed.truncate else {}),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def wire_bytes(vector: Vector) -> bytes:
    """A vector as it is sold: little-endian float32. Both encodings and the digest are of these."""
    return vector.astype("<f4").tobytes()


def _encoded(vector: Vector, encoding: EncodingFormat) -> str | list[float]:
    sold = wire_bytes(vector)
    if encoding == "base64":
        return base64.b64encode(sold).decode()
    return [float(value) for value in np.frombuffer(sold, dtype="<f4")]


def with_receipt(head: bytes, entry: LedgerEntry) -> bytes:
    """The whole answer: the head with the ledger entry as its last field."""
    receipt = json.dumps(entry.document(), separators=(",", ":"))
    return head[:-1] + b',"receipt":' + receipt.encode() + b"}"
