"""The receipt that the client writes for a purchase from a vendor that issues none."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from cache.records.canonical_json import canonical_json
from cache.records.receipt import CLIENT, GENESIS_HASH, Receipt, entry_hash

# A vendor's usage is a few numbers; anything longer is not kept.
_MOST_USAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCharge:
    """What a receipt of the client states; `usage` and `vendor_request` are the vendor's words."""

    wire: str
    idempotency_key: str
    model: str
    model_fingerprint: str
    images: int
    texts: int
    cost_micro_usd: int
    price_version: str
    embeddings_sha256: str
    usage: Mapping[str, Any]
    vendor_request: str

    def receipt(self) -> Receipt:
        """The receipt, made now."""
        microseconds = _next_moment()
        name = hashlib.sha256(self.idempotency_key.encode()).hexdigest()[:32]
        entry: dict[str, Any] = {
            "seq": microseconds,
            "kind": "charge",
            "request_id": f"own_{name}",
            "idempotency_key": self.idempotency_key,
            "model": self.model,
            "model_fingerprint": self.model_fingerprint,
            "images": self.images,
            "texts": self.texts,
            "embeddings_sha256": self.embeddings_sha256,
            "units": self.images + self.texts,
            "cost_micro_usd": self.cost_micro_usd,
            "price_version": self.price_version,
            "balance_units": 0,
            "created_ms": microseconds // 1000,
            "prev_hash": GENESIS_HASH,
            "issuer": CLIENT,
            "wire": self.wire,
            "usage": kept_usage(self.usage),
            "vendor_request": self.vendor_request,
        }
        return Receipt.model_validate({**entry, "hash": entry_hash(entry)})


def kept_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """What a vendor says of its work, as far as it can be stored."""
    try:
        encoded = canonical_json(dict(usage))
    except (TypeError, ValueError, RecursionError):
        return {}
    return dict(usage) if len(encoded) <= _MOST_USAGE_BYTES else {}


_last = 0
_lock = Lock()


def _next_moment() -> int:
    """The Unix time in microseconds, later than every moment that this process was given."""
    global _last
    with _lock:
        _last = max(_last + 1, time.time_ns() // 1000)
        return _last
