"""Checks that the parts of one purchase belong to the same charge."""

from __future__ import annotations

from collections.abc import Sequence

from cache.errors import InconsistentAnswer, IntentConflict
from cache.records.embeddings_digest import embeddings_sha256
from cache.records.purchase_records import Intent, PaidEmbedding
from cache.records.receipt import Receipt


def require_same_purchase(known: Intent, intent: Intent) -> None:
    """Raise IntentConflict unless both purchases buy the same."""
    if not known.is_same_purchase(intent):
        message = (
            f"the idempotency key {intent.idempotency_key} is in use for a different purchase"
            f" of run {known.run}"
        )
        raise IntentConflict(message)


def require_consistent(
    intent: Intent, embeddings: Sequence[PaidEmbedding], receipt: Receipt, account: str
) -> None:
    """Raise InconsistentAnswer unless rows and receipt belong to this purchase."""
    images = sum(row.key.modality == "image" for row in embeddings)
    faults = {
        "no account is named": not account,
        f"the receipt is a {receipt.kind}, not a charge": receipt.kind != "charge",
        "the receipt's hash is not the hash of its fields": not receipt.verify(),
        "the receipt has a different idempotency key": (
            receipt.idempotency_key != intent.idempotency_key
        ),
        "the rows are not those that were requested": (
            sorted(row.key.digest for row in embeddings)
            != sorted(key.digest for key in intent.keys)
        ),
        "a row belongs to a different request": any(
            row.request_id != receipt.request_id for row in embeddings
        ),
        f"the receipt charges {receipt.images} images and {receipt.texts} texts": (
            (receipt.images, receipt.texts) != (images, len(embeddings) - images)
        ),
    }
    found = [fault for fault, is_so in faults.items() if is_so]
    if not found and not _has_digest(intent, embeddings, receipt):
        found = ["the embeddings do not have the digest that the receipt states"]
    if found:
        message = (
            f"the answer to {intent.idempotency_key} was not stored: {'; '.join(found)}."
            " The purchase stays open: request the answer again under the same key"
        )
        raise InconsistentAnswer(message)


def _has_digest(intent: Intent, embeddings: Sequence[PaidEmbedding], receipt: Receipt) -> bool:
    """Whether the rows are those that the receipt commits to; True if it commits to none."""
    if receipt.embeddings_sha256 is None:
        return True
    vectors = {row.key.digest: row.vector for row in embeddings}
    return (
        embeddings_sha256(vectors[key.digest] for key in intent.keys) == receipt.embeddings_sha256
    )


def require_same_vector(known: PaidEmbedding | None, row: PaidEmbedding) -> None:
    """Raise InconsistentAnswer if `known` is of the same request and has a different vector."""
    if known is None or known.request_id != row.request_id:
        return
    if known.vector.tobytes() != row.vector.astype("<f4").tobytes():
        message = (
            f"the answer to request {row.request_id} has a different vector for the item"
            f" {row.key.item} than the stored row: nothing was restored"
        )
        raise InconsistentAnswer(message)
