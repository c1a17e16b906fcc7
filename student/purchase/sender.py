"""Sends one journalled purchase, and settles it whatever the vendor answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cache.paid_cache import Intent
from student.errors import AnswerPurged, BudgetExhausted, VendorError, VendorMisbehaved
from student.purchase.doubt import Doubt
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.queue import PurchaseQueue
from student.purchase.recorder import PurchaseRecorder
from student.vendor.concurrency import AimdLimiter
from student.vendor.problem import ITEM_PROBLEMS, SIZE_PROBLEMS, rejected_items
from student.vendor.request import Batch, Item
from student.vendor.retry import Retry
from student.wires.protocol import Vendor
from student.wires.refusals import REFUSED


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends the purchases of one run; `account_is_empty` after the vendor could sell no item."""

    recorder: PurchaseRecorder
    vendor: Vendor
    queue: PurchaseQueue
    limiter: AimdLimiter
    doubt: Doubt
    account_is_empty: bool = False

    async def send(
        self, intent: Intent, requests: list[EmbeddingRequest], items: tuple[Item, ...]
    ) -> list[EmbeddingRequest]:
        """Send a journalled purchase and settle it; returns what of it to try again right away.

        Raises VendorError, with the intent left open where its charge is in doubt.
        """
        recorder = self.recorder
        batch = Batch(model=recorder.plan.model, prices=recorder.plan.prices, items=items)
        sent = [item.sha256 for item in items]
        recorder.add_in_flight(len(requests))
        sent_at = time.monotonic()
        try:
            answer = await self.vendor.embed(
                batch, intent.idempotency_key, on_retry=self._retry_listener()
            )
        except AnswerPurged as error:
            # Charged once, and nothing to store: the items may be queued again.
            recorder.add_in_flight(-len(requests))
            recorder.write_off(intent, error.detail)
            return []
        except VendorError as error:
            recorder.add_in_flight(-len(requests))
            if not self.vendor.knows_purchases and error.charged is not False:
                await self.doubt.book(intent, requests, error)
                return []
            if await self._was_charged(intent, batch, sent, error):
                return []
            recorder.journal.abandon(intent)
            return self._after_problem(requests, error)
        recorder.add_in_flight(-len(requests))
        recorder.time_request(time.monotonic() - sent_at, items=len(items))
        recorder.store(intent, answer, sent)
        self.doubt.end()
        await self.limiter.increase()
        recorder.set_concurrency(self.limiter.limit)
        return []

    async def _was_charged(
        self, intent: Intent, batch: Batch, sent: list[str], error: VendorError
    ) -> bool:
        """Whether the failed purchase was charged after all; then its answer is stored.

        Raises the error itself, with the intent left open, where the vendor cannot say so now.
        """
        is_reused = error.code == "idempotency_key_reused"
        if error.charged is False and not is_reused:
            return False
        is_rejection = 400 <= error.status < 500 and error.code in ITEM_PROBLEMS | SIZE_PROBLEMS
        if not (is_reused or is_rejection or isinstance(error, BudgetExhausted)):
            raise error
        answer = await self.vendor.recover(batch.expected(intent.idempotency_key))
        if answer is None:
            if is_reused:
                raise error
            return False
        self.recorder.store(intent, answer, sent)
        return True

    def _after_problem(
        self, requests: list[EmbeddingRequest], error: VendorError
    ) -> list[EmbeddingRequest]:
        """What of an uncharged batch to try again; raises the error where that cannot help."""
        if isinstance(error, BudgetExhausted):
            return self._within_account(requests, error)
        if error.code == REFUSED and len(requests) == 1:
            self.doubt.refuse(requests[0], error)
            return []
        rejected = [] if error.code == REFUSED else rejected_items(error, len(requests))
        refused = {one.index: one for one in rejected}
        if not refused:
            half = len(requests) // 2
            self.queue.put_back(requests[half:])
            return requests[:half]
        for index, one in refused.items():
            self.recorder.refuse(requests[index], code=one.code, detail=one.detail)
            self.queue.drop([requests[index]])
        return [one for index, one in enumerate(requests) if index not in refused]

    def _within_account(
        self, requests: list[EmbeddingRequest], error: BudgetExhausted
    ) -> list[EmbeddingRequest]:
        affordable = self.queue.affordable(requests, error.remaining)
        self.queue.put_back(requests[len(affordable) :])
        if not affordable:
            self.account_is_empty = True
        elif len(affordable) == len(requests):
            detail = (
                f"The vendor refuses {self.queue.units(requests)} queries because the budget is "
                f"spent, and says that {error.remaining} remain."
            )
            raise VendorMisbehaved(detail, charged=False, status=402, code="misbehaved")
        return affordable

    def _retry_listener(self) -> Callable[[Retry], None]:
        """Follows one purchase's retries: a burst of pushback lowers the concurrency once."""
        sent_at = self.limiter.halvings

        def on_retry(retry: Retry) -> None:
            nonlocal sent_at
            if retry.is_pushback:
                self.limiter.decrease(sent_at)
            sent_at = self.limiter.halvings
            self.recorder.count_retry(concurrency=self.limiter.limit)

        return on_retry
