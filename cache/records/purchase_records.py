"""The values that the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import Receipt, key_id_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A purchase that is about to be sent: journalled first, so that a crash cannot lose it.

    `keys` are in send order, `units` is what it will cost in queries.
    """

    idempotency_key: str
    keys: tuple[EmbeddingKey, ...]
    units: int
    run: str
    created_ms: int

    def __post_init__(self) -> None:
        if not self.idempotency_key or not self.keys or self.units < 0:
            message = "an intent needs an idempotency key, at least one key and units >= 0"
            raise ValueError(message)
        if len(set(self.keys)) != len(self.keys):
            message = "an intent asks for each key once"
            raise ValueError(message)

    def is_same_purchase(self, other: Intent) -> bool:
        """Whether sending either buys the same; who asked and when does not matter."""
        return (self.idempotency_key, self.keys, self.units) == (
            other.idempotency_key,
            other.keys,
            other.units,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PaidEmbedding:
    """One embedding that was paid for. `vector` is float32 (D,); `sent_sha256` is of what was sent.

    Two are equal when every field is, the vector bit by bit.
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
    """What the cache has on record: units are queries, cost is micro-USD.

    `lost_units` are those of purchases that ended without a receipt (see `WriteOff`).
    """

    receipt_units: int = 0
    in_flight_units: int = 0
    cost_micro_usd: int = 0
    lost_units: int = 0

    @property
    def committed_units(self) -> int:
        """Queries paid for, those that may be being paid for right now, and those lost."""
        return self.receipt_units + self.in_flight_units + self.lost_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An item that the vendor will never embed, and why: it is not asked for again."""

    key: EmbeddingKey
    code: str
    detail: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of a client: what it needed, what it found paid, what it bought.

    `already_paid` counts items, `paid_units` what they cost in queries, where the run told.
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

    @property
    def saved_micro_usd(self) -> int:
        """What the hits would have cost; a query each, where the run did not tell."""
        units = self.already_paid if self.paid_units is None else self.paid_units
        return units * self.micro_usd_per_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReceipt:
    """A receipt with whose account it is on and which run caused it."""

    account: str
    run: str
    receipt: Receipt

    @property
    def name(self) -> tuple[str, str]:
        """Account and request id, which make it one line of one ledger."""
        return self.account, self.receipt.request_id

    @property
    def charge(self) -> tuple[str, str]:
        """Key id and hash, which are the same at whatever address the vendor was reached."""
        return key_id_of(self.account), self.receipt.hash

    def paying_for(self, keys: tuple[EmbeddingKey, ...]) -> Purchase:
        """The purchase that this is the receipt of."""
        return Purchase(account=self.account, run=self.run, receipt=self.receipt, keys=keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase(StoredReceipt):
    """A receipt with everything that it paid for: `keys` are in the order in which they were sent.

    Fewer keys than the receipt charges: the rest is not known any more.
    """

    keys: tuple[EmbeddingKey, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every item that the receipt charges is known."""
        images = sum(key.modality == "image" for key in self.keys)
        return (images, len(self.keys) - images) == (self.receipt.images, self.receipt.texts)

    @property
    def stored(self) -> StoredReceipt:
        """The receipt without what it paid for."""
        return StoredReceipt(account=self.account, run=self.run, receipt=self.receipt)

    @property
    def intent(self) -> Intent:
        """The intent that would ask for it again, under its own key and so free of charge."""
        return Intent(
            idempotency_key=self.receipt.idempotency_key,
            keys=self.keys,
            units=self.receipt.units,
            run=self.run,
            created_ms=self.receipt.created_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRows:
    """A purchase whose receipt is there and of whose rows the `missing` ones, at least, are not."""

    purchase: Purchase
    missing: tuple[EmbeddingKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOff:
    """A purchase that was, or may have been, charged and whose answer nobody has or asks for.

    Its `units` stay counted as spent unless its receipt is stored.
    """

    idempotency_key: str
    account: str
    run: str
    units: int
    keys: tuple[EmbeddingKey, ...]
    detail: str
    created_ms: int
