"""Caches of made-up embeddings, bought through the real code from a vendor that is a function."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.purchase_records import Intent, PaidEmbedding
from cache.records.receipt import GENESIS_HASH, Receipt, account_name, entry_hash

DIM: Final = 512
ROWS_PER_PURCHASE: Final = 64
MODEL: Final = "synthetic/clip"
FINGERPRINT: Final = "sha256:" + hashlib.sha256(b"synthetic").hexdigest()
KEY_ID: Final = "k1"
_BUDGET: Final = 2**40
_NOON: Final = 1_764_000_000_000


def synthetic_digest(number: int) -> str:
    """The SHA-256 (hex) of an image that exists only by its number."""
    return hashlib.sha256(b"image %d" % number).hexdigest()


def image_key(number: int) -> EmbeddingKey:
    """The key of that image."""
    return EmbeddingKey(
        model_fingerprint=FINGERPRINT, modality="image", item=synthetic_digest(number)
    )


@dataclass(slots=True)
class SyntheticVendor:
    """Answers purchases as a vendor does: vectors (D,), and receipts that form a ledger.

    `key_id` is the client's key; `ledger` holds the entries of that key, as the lines of JSON that
    an audit reads.
    """

    key_id: str = KEY_ID
    ledger: list[str] = field(default_factory=list)
    spent: int = 0
    _last_hash: str = GENESIS_HASH
    _vectors: NDArray[np.float32] = field(
        default_factory=lambda: (
            np.random.default_rng(0).standard_normal((4096, DIM)).astype(np.float32)
        )
    )

    def __post_init__(self) -> None:
        self._add(kind="grant", units=_BUDGET, idempotency_key="", images=0)

    @property
    def account(self) -> str:
        """The account that its receipts belong to."""
        return account_name("http://127.0.0.1:8000", self.key_id)

    def answer(self, intent: Intent) -> tuple[list[PaidEmbedding], Receipt]:
        """Charge for a purchase and return what was bought, with the receipt."""
        start = self.spent % len(self._vectors)
        vectors = [self._vectors[(start + n) % len(self._vectors)] for n in range(len(intent.keys))]
        self.spent += intent.units
        receipt = self._add(
            kind="charge",
            units=intent.units,
            idempotency_key=intent.idempotency_key,
            images=len(intent.keys),
            embeddings_sha256=embeddings_sha256(vectors),
        )
        rows = [
            PaidEmbedding(
                key=key,
                vector=vector,
                sent_sha256=key.item,
                model=MODEL,
                request_id=receipt.request_id,
                price_version=receipt.price_version,
                created_ms=receipt.created_ms,
            )
            for key, vector in zip(intent.keys, vectors, strict=True)
        ]
        return rows, receipt

    def _add(self, **fields: Any) -> Receipt:
        seq = len(self.ledger) + 1
        entry = {
            "seq": seq,
            "request_id": f"req_{self.key_id}_{seq:08d}",
            "model": MODEL,
            "model_fingerprint": FINGERPRINT,
            "texts": 0,
            "cost_micro_usd": 0 if fields["kind"] == "grant" else 100 * fields["units"],
            "price_version": "2026-11",
            "balance_units": _BUDGET - self.spent,
            "created_ms": _NOON + seq,
            "prev_hash": self._last_hash,
            **fields,
        }
        entry["hash"] = self._last_hash = entry_hash(entry)
        self.ledger.append(json.dumps(entry))
        return Receipt.model_validate(entry)


def buy(
    cache: PaidCache, vendor: SyntheticVendor, keys: Sequence[EmbeddingKey], *, run: str = "run"
) -> float:
    """Buy `keys` 64 at a time, as the client does, and return the seconds spent in the cache."""
    seconds = 0.0
    for start in range(0, len(keys), ROWS_PER_PURCHASE):
        chunk = tuple(keys[start : start + ROWS_PER_PURCHASE])
        intent = Intent(
            idempotency_key=f"idem-{chunk[0].item}",
            keys=chunk,
            units=len(chunk),
            run=run,
            created_ms=_NOON,
        )
        started = time.perf_counter()
        cache.reserve(intent, budget=_BUDGET)
        seconds += time.perf_counter() - started
        rows, receipt = vendor.answer(intent)
        started = time.perf_counter()
        cache.commit(intent, rows, receipt, account=vendor.account)
        seconds += time.perf_counter() - started
    return seconds
