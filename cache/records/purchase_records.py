"""Purchases and what belongs to them: embeddings, receipts, refusals, runs, write-offs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import CLIENT_KNOWS, Receipt, key_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An open purchase: stored before it is sent, so that a crash cannot lose it.

    `keys` are in the order of sending; `units` is its price in queries.
    """

    idempotency_key: str
    keys: tuple[EmbeddingKey, ...]
    units: int
    run: str
    created_ms: int

    def __post_init__(self) -> None:
        if not self.idempotency_key or not self.keys or self.units < 0:
            message = (
                "a purchase needs an idempotency key, at least one embedding key and units >= 0"
            )
            raise ValueError(message)
        if len(set(self.keys)) != len(self.keys):
            message = "a purchase must not repeat an embedding key"
            raise ValueError(message)

    def is_same_purchase(self, other: Intent) -> bool:
        """Whether both buy the same; their runs and times may differ."""
        return (self.idempotency_key, self.keys, self.units) == (
            other.idempotency_key,
            other.keys,
            other.units,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaidEmbedding:
    """One paid embedding; `vector` is float32 (D,), `sent_sha256` the hash of the bytes sent.

    Two are equal if all fields are equal, the vector bit by bit.
    """

    key: EmbeddingKey
    vector: NDArray[np.float32]
    sent_sha256: str
    model: str
    request_id: str
    price_version: str
    created_ms: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PaidEmbedding):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        return hash(self._comparable())

    def _comparable(self) -> tuple[object, ...]:
        vector = self.vector.astype("<f4", copy=False)
        return (
            self.key,
            vector.shape,
            vector.tobytes(),
            self.sent_sha256,
            self.model,
            self.request_id,
            self.price_version,
            self.created_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """The running totals of a cache: units are queries, cost is in micro-USD.

    `open_units` belong to open purchases, `written_off_units` to write-offs without a receipt.
    """

    receipt_units: int = 0
    open_units: int = 0
    cost_micro_usd: int = 0
    written_off_units: int = 0

    @property
    def committed_units(self) -> int:
        """Queries that count against the budget: paid, open and written off."""
        return self.receipt_units + self.open_units + self.written_off_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An item that the vendor refuses to embed, with the reason; it is not requested again."""

    key: EmbeddingKey
    code: str
    detail: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of a client: what it planned, found in the cache and bought.

    `already_paid` counts items, `paid_units` their price in queries (None in old records).
    `model_fingerprint` is that of the keys; `model_fingerprint_v2` is "" in old records. `retries`
    counts the requests sent again (None in old records, and while a run buys). A request took
    `request_milliseconds` from sending to its answer by the client's clock and carried
    `request_items`, both medians (None in old records, and for a run that bought nothing).
    """

    run: str
    started_ms: int
    command: str
    model: str
    model_fingerprint: str
    planned: int
    already_paid: int
    bought_units: int
    cost_micro_usd: int
    micro_usd_per_unit: int
    paid_units: int | None = None
    model_fingerprint_v2: str = ""
    retries: int | None = None
    request_milliseconds: int | None = None
    request_items: int | None = None

    @property
    def saved_micro_usd(self) -> int:
        """The price of the items found in the cache; one query each if not recorded."""
        units = self.already_paid if self.paid_units is None else self.paid_units
        return units * self.micro_usd_per_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """A receipt with its account and the run that made the purchase."""

    account: str
    run: str
    receipt: Receipt

    @property
    def name(self) -> tuple[str, str]:
        """Account and request id, which identify one entry of one ledger."""
        return self.account, self.receipt.request_id

    @property
    def charge(self) -> tuple[str, str]:
        """Key id and hash, which do not depend on the vendor's address."""
        return key_id_of(self.account), self.receipt.hash

    def paying_for(self, keys: tuple[EmbeddingKey, ...]) -> Purchase:
        """Return the purchase of this receipt, given its keys."""
        return Purchase(account=self.account, run=self.run, receipt=self.receipt, keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase(StoredReceipt):
    """A receipt with the keys that it paid for, in the order of sending.

    There are fewer keys than the receipt charges if the others are no longer known.
    """

    keys: tuple[EmbeddingKey, ...]

    @property
    def is_whole(self) -> bool:
        """Whether all keys that the receipt charges are known."""
        images = sum(key.modality == "image" for key in self.keys)
        return (images, len(self.keys) - images) == (self.receipt.images, self.receipt.texts)

    @property
    def stored(self) -> StoredReceipt:
        """The receipt without the keys."""
        return StoredReceipt(account=self.account, run=self.run, receipt=self.receipt)

    @property
    def intent(self) -> Intent:
        """The purchase to send again, under the same idempotency key and so free of charge."""
        return Intent(
            idempotency_key=self.receipt.idempotency_key,
            keys=self.keys,
            units=self.receipt.units,
            run=self.run,
            created_ms=self.receipt.created_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRows:
    """A paid purchase with missing rows: recoverable, the vendor sends them again for free."""

    purchase: Purchase
    missing: tuple[EmbeddingKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOff:
    """A purchase that was or may have been charged and whose answer is given up: unrecoverable.

    Its `units` (queries) stay counted as spent unless its receipt is stored.
    """

    idempotency_key: str
    account: str
    run: str
    units: int
    keys: tuple[EmbeddingKey, ...]
    detail: str
    created_ms: int

    @property
    def is_in_doubt(self) -> bool:
        """Whether the vendor knows no purchases, so that nobody can say if this was charged."""
        return self.idempotency_key.startswith(CLIENT_KNOWS)
