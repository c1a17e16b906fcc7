"""A checked answer as the rows that the cache keeps."""

from __future__ import annotations

from collections.abc import Sequence

from cache.paid_cache import PaidEmbedding
from cache.records.embedding_key import EmbeddingKey
from student.errors import BadInput
from student.purchase.requests import EmbeddingRequest
from student.vendor.response import Answer


def rows_of(
    answer: Answer, keys: Sequence[EmbeddingKey], sent: Sequence[str]
) -> list[PaidEmbedding]:
    """One row for each item, in their order; `sent` are the digests of what was sent for them."""
    receipt = answer.receipt
    return [
        PaidEmbedding(
            key=key,
            vector=vector,
            sent_sha256=digest,
            model=answer.model,
            request_id=receipt.request_id,
            price_version=receipt.price_version,
            created_ms=receipt.created_ms,
        )
        for key, vector, digest in zip(keys, answer.vectors, sent, strict=True)
    ]


def digests_sent(keys: Sequence[EmbeddingKey], wanted: Sequence[EmbeddingRequest]) -> list[str]:
    """The digests of what an earlier run sent; "" for a view that cannot be rendered any more."""
    asked = set(keys)
    by_key = {one.key: one for one in wanted if one.key in asked}
    return [_digest_sent(key, by_key.get(key)) for key in keys]


def _digest_sent(key: EmbeddingKey, wanted: EmbeddingRequest | None) -> str:
    if key.view == "original":
        return key.item
    if wanted is None:
        return ""
    try:
        return wanted.item().sha256
    except BadInput:
        return ""
