"""Whether the parts of one purchase speak of one and the same charge."""

from __future__ import annotations

from collections.abc import Sequence

from cache.errors import InconsistentAnswer, IntentConflict
from cache.records.purchase_records import Intent, PaidEmbedding
from cache.records.receipt import Receipt


def require_same_purchase(known: Intent, intent: Intent) -> None:
    """Raise IntentConflict unless sending either intent buys the same."""
    if not known.is_same_purchase(intent):
        message = (
            f"the idempotency key {intent.idempotency_key} is in use for another purchase"
            f" of run {known.run}"
        )
        raise IntentConflict(message)


def require_consistent(
    intent: Intent, embeddings: Sequence[PaidEmbedding], receipt: Receipt, account: str
) -> None:
    """Raise InconsistentAnswer unless every part speaks of one and the same charge."""
    images = sum(row.key.modality == "image" for row in embeddings)
    faults = {
        "no account is named": not account,
        f"the receipt is a {receipt.kind}, not a charge": receipt.kind != "charge",
        "the receipt's hash is not the hash of its fields": not receipt.verify(),
        "the receipt has another idempotency key": (
            receipt.idempotency_key != intent.idempotency_key
        ),
        "the rows are not those that were asked for": (
            sorted(row.key.digest for row in embeddings)
            != sorted(key.digest for key in intent.keys)
        ),
        "a row is of another request": any(
            row.request_id != receipt.request_id for row in embeddings
        ),
        f"the receipt charges {receipt.images} images and {receipt.texts} texts": (
            (receipt.images, receipt.texts) != (images, len(embeddings) - images)
        ),
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    if found:
        message = (
            f"the answer to {intent.idempotency_key} was not stored: {'; '.join(found)}."
            " Its intent stays open, ask the vendor for it again under the same key"
        )
        raise InconsistentAnswer(message)


def require_same_vector(known: PaidEmbedding | None, row: PaidEmbedding) -> None:
    """Raise InconsistentAnswer when `known`, of the same request as `row`, is another vector."""
    if known is None or known.request_id != row.request_id:
        return
    if known.vector.tobytes() != row.vector.astype("<f4").tobytes():
        message = (
            f"the answer of request {row.request_id} has another vector for the item"
            f" {row.key.item} than the one that was paid for: nothing was put back"
        )
        raise InconsistentAnswer(message)
