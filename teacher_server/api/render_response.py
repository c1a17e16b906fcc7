"""Printing the answer that is sold."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import numpy as np

from teacher_server.api.parse_request import EncodingFormat, ParsedRequest
from teacher_server.inference.batcher import Vector
from teacher_server.inference.info import ModelInfo
from teacher_server.ledger.charges import Reservation
from teacher_server.ledger.entry import LedgerEntry


def render_head(
    vectors: Sequence[Vector],
    reservation: Reservation,
    *,
    intake: ParsedRequest,
    info: ModelInfo,
    tokens: int,
) -> bytes:
    """Everything of the answer but its receipt, as a JSON object."""
    # Rendered before the charge's transaction, which then only adds the receipt: the database's
    # write lock is not held while a hundred thousand floats are printed.
    document = {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _on_the_wire(vector, intake.encoding_format),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": info.id,
        "model_fingerprint": info.fingerprint,
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "images": intake.images,
            "texts": intake.texts,
            "billed_units": reservation.units,
            "cost_micro_usd": reservation.price.cost(reservation.units),
            "price_version": reservation.price.version,
        },
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _on_the_wire(vector: Vector, encoding: EncodingFormat) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in np.asarray(vector, dtype=np.float32)]


def with_receipt(head: bytes, entry: LedgerEntry) -> bytes:
    """The whole answer: the head with the ledger's own line as its last field."""
    receipt = json.dumps(entry.document(), separators=(",", ":"))
    return head[:-1] + b',"receipt":' + receipt.encode() + b"}"
