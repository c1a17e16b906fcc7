"""Stores what a purchase brings in: answers, refusals and write-offs, and the count of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from statistics import median_low

from cache.paid_cache import Intent, PaidEmbedding, Purchase
from cache.records.embedding_key import EmbeddingKey
from student.errors import ModelChanged, PriceChanged, VendorMisbehaved
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import PurchaseJournal
from student.purchase.progress import (
    Listener,
    Progress,
    PurchaseSummary,
    Refused,
    StopReason,
    silent,
)
from student.vendor.receipt_chain import ReceiptChain
from student.vendor.response import Answer

_log = logging.getLogger(__name__)


class PurchaseRecorder:
    """Writes one purchase to the cache, and reports its progress after every change."""

    def __init__(self, journal: PurchaseJournal, *, listener: Listener = silent) -> None:
        self.journal = journal
        self.plan = journal.plan
        self.cache = journal.cache
        self._account = journal.payer.account
        self._listener = listener
        self._chain = ReceiptChain()
        self._answers = 0
        self._refused: list[Refused] = []
        self._request_milliseconds: list[int] = []
        self._request_items: list[int] = []
        self._progress = Progress(
            planned=len(self.plan.to_buy) + len(self.plan.in_open_purchases),
            cached=self.plan.already_paid,
        )

    def store(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        """Store a paid answer; `sent` are the SHA-256 digests of what was sent, row by row.

        Raises, after storing it, ModelChanged for an answer of another model, which is stored under
        its own fingerprint, and PriceChanged for a charge by another price list.
        """
        self._commit(intent, answer, sent)
        self._update(bought=self._progress.bought + len(intent.keys))
        planned = intent.keys[0].model_fingerprint
        if answer.model_fingerprint != planned:
            detail = (
                f"The vendor answers as {answer.model_fingerprint} where the plan says {planned}: "
                "its model has changed. The answer is stored under its own fingerprint and nothing "
                "is mixed; run again to plan with the new model."
            )
            raise ModelChanged(detail, charged=True, request_id=answer.receipt.request_id)
        if answer.receipt.price_version != self.plan.prices.version:
            detail = (
                f"The vendor charged by price list {answer.receipt.price_version!r} where the plan "
                f"says {self.plan.prices.version!r}. The answer is stored; run again for a new "
                "plan."
            )
            raise PriceChanged(detail, charged=True, request_id=answer.receipt.request_id)

    def store_recovered(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        """Store an answer that an earlier run paid for, by the model and prices of its day."""
        self._commit(intent, answer, sent)
        self._update(recovered=self._progress.recovered + len(intent.keys))

    def restore(self, purchase: Purchase, answer: Answer, sent: Sequence[str]) -> None:
        """Put back the missing rows of a paid purchase; nothing is charged."""
        count = self.cache.restore(purchase, _rows(answer, purchase.keys, sent))
        self._update(restored=self._progress.restored + count)

    def write_off(self, intent: Intent, detail: str) -> None:
        """Settle a purchase that was charged, and whose answer the vendor has deleted.

        The cache records it, its units stay spent, and its items can be bought again.
        """
        self.cache.write_off(intent, account=self._account, detail=detail)
        _log.warning(
            "purchase %s was charged (%d queries) and its answer cannot be fetched any more: %s",
            intent.idempotency_key,
            intent.units,
            detail,
        )
        self._update(written_off=self._progress.written_off + len(intent.keys))

    def book_doubt(self, intent: Intent, detail: str) -> None:
        """Settle a purchase that may have been charged, and that its vendor cannot be asked for.

        The cache records it, its units stay spent, and its items can be bought again.
        """
        self.cache.write_off(intent, account=self._account, detail=detail)
        _log.warning(
            "purchase %s is in doubt: its %d queries are counted as spent: %s",
            intent.idempotency_key,
            intent.units,
            detail,
        )
        self._update(in_doubt=self._progress.in_doubt + len(intent.keys))

    def refuse(self, request: EmbeddingRequest, *, code: str, detail: str) -> None:
        """Record that the vendor will never embed this item, so that it is not sent again."""
        self.cache.refuse(request.key, code=code, detail=detail)
        self._refused.append(Refused(request=request, code=code, detail=detail))
        self._update(refused=len(self._refused))

    def add_in_flight(self, items: int) -> None:
        """Count items that are sent or, if negative, answered."""
        self._update(in_flight=self._progress.in_flight + items)

    def count_retry(self, *, concurrency: int) -> None:
        """Count an attempt after the first; `concurrency` requests may be in flight now."""
        self._update(retries=self._progress.retries + 1, concurrency=concurrency)

    def set_concurrency(self, concurrency: int) -> None:
        """Report how many requests may be in flight now."""
        if concurrency != self._progress.concurrency:
            self._update(concurrency=concurrency)

    def time_request(self, seconds: float, *, items: int) -> None:
        """Keep how long a request took from sending to its answer, retries included."""
        self._request_milliseconds.append(round(seconds * 1000))
        self._request_items.append(items)

    def summary(self, *, account_is_empty: bool) -> PurchaseSummary:
        """The summary at the end of the purchase."""
        left = self.journal.unpaid(self.plan.pending)
        open_keys = self.journal.open_keys()
        stop_reason: StopReason = "complete"
        if left:
            stop_reason = self.plan.limited_by
            if account_is_empty:
                stop_reason = "vendor budget"
            elif any(request.key in open_keys for request in left):
                stop_reason = "waiting"
        progress = self._progress
        return PurchaseSummary(
            stop_reason=stop_reason,
            bought=progress.bought,
            recovered=progress.recovered,
            cached=progress.cached,
            refused=tuple(self._refused),
            left_out=len(left),
            open_purchases=len(self.cache.open_intents()),
            units=progress.units,
            cost_micro_usd=progress.cost_micro_usd,
            requests=self._answers,
            retries=progress.retries,
            restored=progress.restored,
            written_off=progress.written_off,
            in_doubt=progress.in_doubt,
            waits_until_ms=self.journal.waits_until_ms(left),
            request_milliseconds=_median(self._request_milliseconds),
            request_items=_median(self._request_items),
        )

    def _commit(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        keys = tuple(
            replace(key, model_fingerprint=answer.model_fingerprint) for key in intent.keys
        )
        receipt = answer.receipt
        if (fault := self._chain.fault(receipt)) is not None:
            detail = (
                f"The receipt for purchase {intent.idempotency_key} does not fit the vendor's "
                f"ledger: {fault}. None of the answer was stored."
            )
            raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")
        rows = _rows(answer, keys, sent)
        self.cache.commit(replace(intent, keys=keys), rows, receipt, account=self._account)
        self._answers += 1
        self._progress = replace(
            self._progress,
            units=self._progress.units + receipt.units,
            cost_micro_usd=self._progress.cost_micro_usd + receipt.cost_micro_usd,
        )

    def _update(self, **changes: int) -> None:
        self._progress = replace(self._progress, **changes)
        self._listener(self._progress)


def _median(figures: Sequence[int]) -> int | None:
    return median_low(figures) if figures else None


def _rows(answer: Answer, keys: Sequence[EmbeddingKey], sent: Sequence[str]) -> list[PaidEmbedding]:
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
