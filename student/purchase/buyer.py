"""Buys a plan: journal the purchase, send it, check the answer, store it. Nothing is paid twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from cache.errors import AnswerNotStored, ClientBudgetExceeded
from cache.records.embedding_key import EmbeddingKey
from cache.storage.missing_rows import find_missing_rows
from student.errors import BadInput
from student.purchase.doubt import Doubt
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.progress import PurchaseSummary
from student.purchase.queue import PurchaseQueue
from student.purchase.recorder import PurchaseRecorder
from student.purchase.recovery import Recovery
from student.purchase.replay import restore_rows
from student.purchase.sender import Sender
from student.vendor.concurrency import AimdLimiter
from student.wires.protocol import Vendor

# Between two checks of what another live run is buying; it ends with that run.
POLL_SECONDS = 0.25

_log = logging.getLogger(__name__)


async def buy(
    recorder: PurchaseRecorder,
    vendor: Vendor,
    *,
    batch_size: int = 64,
    concurrency: int = 4,
    drain_seconds: float = 60.0,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> PurchaseSummary:
    """Buy what the recorder's plan says, and store every answer before anything else happens.

    Purchases that a killed run left open are settled first. Running out of budget, the client's or
    the vendor's, is a normal end. `batch_size` is the most embeddings of one request, `concurrency`
    the most requests at a time.

    When cancelled, it sends no new purchase, waits at most `drain_seconds` for those that are sent,
    stores their answers and raises. When killed, the journal lets the next run continue. Raises
    VendorError, BadInput (an image file changed or vanished) and CacheError, after the answers of
    what was sent are stored.
    """
    buyer = _Buyer(
        recorder=recorder,
        vendor=vendor,
        batch_size=min(batch_size, recorder.plan.model.limits.max_items),
        concurrency=concurrency,
        sleep=sleep,
    )
    with recorder.cache.hold_run_lock(recorder.journal.payer.run):
        task = asyncio.create_task(buyer.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            buyer.stop()
            try:
                await asyncio.wait({task}, timeout=drain_seconds)
            finally:
                task.cancel()
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                if isinstance(outcome, AnswerNotStored):
                    _log.error("%s", outcome)
            raise


def _combined(failures: Sequence[Exception]) -> Exception:
    """The first failure, or all answers that the disk did not take: every one was charged."""
    lost = [failure for failure in failures if isinstance(failure, AnswerNotStored)]
    if not lost:
        return failures[0]
    return AnswerNotStored(
        lost[0].cause,
        [one for failure in lost for one in failure.purchases],
        can_be_fetched=lost[0].can_be_fetched,
    )


@dataclass(slots=True, kw_only=True)
class _Buyer:
    recorder: PurchaseRecorder
    vendor: Vendor
    batch_size: int
    concurrency: int
    sleep: Callable[[float], Awaitable[None]]
    _limiter: AimdLimiter = field(init=False)
    _queue: PurchaseQueue = field(init=False)
    _doubt: Doubt = field(init=False)
    _sender: Sender = field(init=False)
    _has_stopped: bool = False
    _waits_for_another_run: bool = False
    _left_open: set[EmbeddingKey] = field(default_factory=set)
    _restored: set[EmbeddingKey] = field(default_factory=set)
    _failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._limiter = AimdLimiter(self.concurrency)
        self._queue = PurchaseQueue(prices=self.recorder.plan.prices)
        self._doubt = Doubt(recorder=self.recorder, queue=self._queue, sleep=self.sleep)
        self._sender = Sender(
            recorder=self.recorder,
            vendor=self.vendor,
            queue=self._queue,
            limiter=self._limiter,
            doubt=self._doubt,
        )

    def stop(self) -> None:
        """Send nothing new from now on."""
        self._has_stopped = True

    @property
    def _is_stopping(self) -> bool:
        return self._has_stopped or self._sender.account_is_empty

    async def run(self) -> PurchaseSummary:
        self.recorder.set_concurrency(self._limiter.limit)
        await self._restore_missing_rows()
        while True:
            await self._settle_open_purchases()
            self._fill_queue()
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._buy_from_queue())
            self._doubt.end_of_queue()
            if self._failures:
                raise _combined(self._failures)
            if self._is_stopping or not self._waits_for_another_run:
                return self.recorder.summary(account_is_empty=self._sender.account_is_empty)
            await self.sleep(POLL_SECONDS)

    async def _restore_missing_rows(self) -> None:
        for missing in find_missing_rows(self.recorder.cache):
            if not self._is_stopping:
                self._restored.update(await restore_rows(missing, self.recorder, self.vendor))

    async def _settle_open_purchases(self) -> None:
        recovery = Recovery(
            recorder=self.recorder, vendor=self.vendor, send=self._sender.send, sleep=self.sleep
        )
        self._left_open.clear()
        for intent in self.recorder.cache.open_intents():
            # An empty account stops new purchases, not the retrieval of earlier ones.
            if self._is_stopping and not self._sender.account_is_empty:
                return
            if await recovery.settle(intent) == "left open":
                self._left_open.update(intent.keys)

    def _fill_queue(self) -> None:
        """Queue what is still to be bought.

        The plan's units bound the purchase. What has been paid since the plan was made, here or by
        another process, and what open purchases ask for is deducted; rows that were restored for
        free are not.
        """
        plan = self.recorder.plan
        pending = [request.key for request in plan.pending]
        missing = set(self.recorder.cache.missing(pending)) | self._restored
        paid_since = [request for request in plan.pending if request.key not in missing]
        unpaid = self.recorder.journal.unpaid(plan.pending)
        open_keys = self.recorder.journal.open_keys()
        waiting = [request for request in unpaid if request.key in open_keys]
        # The run that asks for these now stores them or dies; then they are settled here.
        self._waits_for_another_run = any(request.key not in self._left_open for request in waiting)
        cap = plan.units + plan.units_of(plan.in_open_purchases)
        self._queue.refill(
            [request for request in unpaid if request.key not in open_keys],
            allowance=cap - plan.units_of(paid_since) - plan.units_of(waiting),
        )

    async def _buy_from_queue(self) -> None:
        """Buy batches until the queue is empty, the budget is spent, or something went wrong."""
        try:
            while not self._is_stopping and (batch := self._queue.take(self.batch_size)):
                async with self._limiter:
                    while batch and not self._is_stopping:
                        batch = await self._attempt(batch)
        except ClientBudgetExceeded as error:
            # Other workers may still give units back, and then continue by themselves.
            _log.info("%s", error)
        except Exception as error:  # the others' answers must be stored before this is raised
            self.stop()
            self._failures.append(error)

    async def _attempt(self, batch: list[EmbeddingRequest]) -> list[EmbeddingRequest]:
        """Buy as much of this batch as fits into one request; returns what to try right away."""
        queue, recorder = self._queue, self.recorder
        try:
            items = await asyncio.to_thread(lambda: tuple(request.item() for request in batch))
        except BadInput as error:
            detail = f"{error}; what was bought is stored: run again"
            raise BadInput(detail) from error
        count = self.vendor.fit(items, recorder.plan.model.limits)
        queue.put_back(batch[count:])
        batch, items = batch[:count], items[:count]
        # Before the purchase is on record: a wait must not leave it open.
        await self.vendor.turn()
        if self._is_stopping:
            queue.put_back(batch)
            return []
        try:
            claim = recorder.journal.claim(batch)
        except ClientBudgetExceeded as error:
            affordable = queue.affordable(batch, error.remaining)
            queue.put_back(batch[len(affordable) :])
            if not affordable:
                raise
            return affordable
        if claim.intent is None:
            self._waits_for_another_run = self._waits_for_another_run or claim.is_contested
            return claim.free
        return await self._sender.send(claim.intent, batch, items)
