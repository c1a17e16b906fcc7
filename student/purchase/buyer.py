"""Buying a plan: journal, send, check, store; nothing is ever paid twice."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cache.errors import ClientBudgetExceeded
from cache.paid_cache import Intent, PaidCache
from cache.paid_cache import now_ms as unix_ms
from cache.records.embedding_key import EmbeddingKey
from cache.storage.missing_rows import find_missing_rows
from student.errors import AnswerPurged, BadInput, BudgetExhausted, VendorError, VendorMisbehaved
from student.purchase.plan import Plan
from student.purchase.progress import Listener, PurchaseSummary, silent
from student.purchase.queue import PurchaseQueue
from student.purchase.recorder import PurchaseRecorder
from student.purchase.recovery import Recovery
from student.purchase.requests import EmbeddingRequest
from student.purchase.restore import Replay
from student.vendor.client import VendorClient
from student.vendor.concurrency import AimdLimiter
from student.vendor.problem import REFUSED_ITEM, REFUSED_SIZE, guilty_item
from student.vendor.request import Batch, Item, fitting
from student.vendor.retry import Retry

# Between two looks at what another living run is buying; it ends with that run.
GLANCE = 0.25

_log = logging.getLogger(__name__)


async def buy(
    plan: Plan,
    *,
    cache: PaidCache,
    vendor: VendorClient,
    budget: int,
    run: str,
    account: str,
    batch_size: int = 64,
    concurrency: int = 4,
    progress: Listener = silent,
    drain_seconds: float = 60.0,
    now_ms: Callable[[], int] = unix_ms,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> PurchaseSummary:
    """Buy what the plan says and store every answer before anything else happens.

    `budget` caps, in units and over the life of the cache, receipts plus what is in flight; `run`
    names this run and must be new each time; `account` is `vendor.ledger_name(...)`. Purchases
    that a killed run left open are ended first. Running out of budget, the client's or the
    vendor's, is a normal end.

    Cancelled, it sends no new purchase, lets those in flight finish for `drain_seconds` at most,
    stores them and raises. Killed, the journal lets the next run go on. Raises VendorError,
    BadInput (an image file changed or vanished) and CacheError, after what was in flight is stored.
    """
    till = PurchaseRecorder(
        plan,
        cache=cache,
        account=account,
        budget=budget,
        run=run,
        listener=progress,
        now_ms=now_ms,
    )
    buyer = _Buyer(
        plan=plan,
        till=till,
        vendor=vendor,
        batch_size=min(batch_size, plan.model.limits.max_items),
        concurrency=concurrency,
        sleep=sleep,
    )
    with cache.hold_run_lock(run):
        task = asyncio.create_task(buyer.run())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            buyer.stop()
            try:
                await asyncio.wait({task}, timeout=drain_seconds)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            raise


@dataclass(slots=True, kw_only=True)
class _Buyer:
    plan: Plan
    till: PurchaseRecorder
    vendor: VendorClient
    batch_size: int
    concurrency: int
    sleep: Callable[[float], Awaitable[None]]
    _pace: AimdLimiter = field(init=False)
    _shelf: PurchaseQueue = field(init=False)
    _is_stopping: bool = False
    _vendor_is_empty: bool = False
    _met_a_rival: bool = False
    _left_open: set[EmbeddingKey] = field(default_factory=set)
    _restored: set[EmbeddingKey] = field(default_factory=set)
    _failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pace = AimdLimiter(self.concurrency)
        self._shelf = PurchaseQueue((), prices=self.plan.prices, allowance=0)

    def stop(self) -> None:
        """Send nothing new from now on."""
        self._is_stopping = True

    async def run(self) -> PurchaseSummary:
        self.till.at_pace(self._pace.limit)
        await self._replay()
        while True:
            await self._settle()
            self._fill_shelf()
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._work())
            if self._failures:
                raise self._failures[0]
            if self._is_stopping or not self._met_a_rival:
                return self.till.bought(vendor_is_empty=self._vendor_is_empty)
            await self.sleep(GLANCE)

    async def _replay(self) -> None:
        replay = Replay(plan=self.plan, till=self.till, vendor=self.vendor)
        for lost in find_missing_rows(self.till.cache):
            if not self._is_stopping:
                self._restored.update(await replay.restore(lost))

    async def _settle(self) -> None:
        settlement = Recovery(
            plan=self.plan, till=self.till, vendor=self.vendor, send=self._send, sleep=self.sleep
        )
        self._left_open.clear()
        for intent in self.till.cache.open_intents():
            # An empty account ends the buying, not the asking for what was paid before.
            if self._is_stopping and not self._vendor_is_empty:
                return
            if await settlement.settle(intent) == "left open":
                self._left_open.update(intent.keys)

    def _fill_shelf(self) -> None:
        """Lay out what is still to be bought.

        The plan's units bound the purchase: what has been paid since it was made, here or by
        another process, and what is still in flight, comes off; what came back for free does not.
        """
        plan = self.plan
        missing = set(self.till.cache.missing([one.key for one in plan.pending])) | self._restored
        paid_since = [one for one in plan.pending if one.key not in missing]
        unpaid = self.till.unpaid(plan.pending)
        in_flight = self.till.keys_in_flight()
        waiting = [one for one in unpaid if one.key in in_flight]
        # Whoever asks for these now ends that, or dies: then it is settled here.
        self._met_a_rival = any(one.key not in self._left_open for one in waiting)
        cap = plan.units + plan.units_of(plan.in_flight)
        self._shelf = PurchaseQueue(
            [one for one in unpaid if one.key not in in_flight],
            prices=plan.prices,
            allowance=cap - plan.units_of(paid_since) - plan.units_of(waiting),
        )

    async def _work(self) -> None:
        """Buy lots until there are none, the budget is spent, or something went wrong."""
        try:
            while not self._is_stopping and (lot := self._shelf.take(self.batch_size)):
                async with self._pace:
                    while lot and not self._is_stopping:
                        lot = await self._attempt(lot)
        except ClientBudgetExceeded as error:
            # Others may still give units back and then go on themselves.
            _log.info("%s", error)
        except Exception as error:  # the others' answers must be stored before this is raised
            self.stop()
            self._failures.append(error)

    async def _attempt(self, lot: list[EmbeddingRequest]) -> list[EmbeddingRequest]:
        """Buy this lot, or as much of it as goes into one request; what to try right away."""
        try:
            items = await asyncio.to_thread(lambda: tuple(one.item() for one in lot))
        except BadInput as error:
            detail = f"{error}; what was bought is stored: run again"
            raise BadInput(detail) from error
        count = fitting(items, self.plan.model.limits.max_body_bytes)
        self._shelf.put_back(lot[count:])
        lot, items = lot[:count], items[:count]
        if self._is_stopping:
            self._shelf.put_back(lot)
            return []
        try:
            claim = self.till.claim(lot)
        except ClientBudgetExceeded as error:
            affordable = self._shelf.affordable(lot, error.remaining)
            self._shelf.put_back(lot[len(affordable) :])
            if not affordable:
                raise
            return affordable
        if claim.intent is None:
            self._met_a_rival = self._met_a_rival or claim.is_contested
            return claim.free
        return await self._send(claim.intent, lot, items)

    async def _send(
        self, intent: Intent, lot: list[EmbeddingRequest], items: tuple[Item, ...]
    ) -> list[EmbeddingRequest]:
        """Send a journalled purchase and end it; what of its lot to try again right away."""
        batch = Batch(model=self.plan.model, prices=self.plan.prices, items=items)
        sent = [item.sha256 for item in items]
        self.till.on_wire(len(lot))
        try:
            answer = await self.vendor.embed(
                batch, intent.idempotency_key, on_retry=self._retry_listener()
            )
        except AnswerPurged as error:
            # Charged once, and nothing to store: the next shelf may offer its items anew.
            self.till.on_wire(-len(lot))
            self.till.lose(intent, error.detail)
            return []
        except VendorError as error:
            self.till.on_wire(-len(lot))
            if await self._was_paid(intent, batch, sent, error):
                return []
            self.till.cache.abandon(intent.idempotency_key)
            return self._after_refusal(lot, error)
        self.till.on_wire(-len(lot))
        self.till.store(intent, answer, sent)
        await self._pace.speed_up()
        self.till.at_pace(self._pace.limit)
        return []

    async def _was_paid(
        self, intent: Intent, batch: Batch, sent: list[str], error: VendorError
    ) -> bool:
        """Whether the failed purchase is paid after all (then it is stored).

        Raises the error itself, leaving the intent open, when that cannot be said now.
        """
        is_reused = error.code == "idempotency_key_reused"
        if error.charged is False and not is_reused:
            return False
        is_refusal = 400 <= error.status < 500 and error.code in REFUSED_ITEM | REFUSED_SIZE
        if not (is_reused or is_refusal or isinstance(error, BudgetExhausted)):
            raise error
        answer = await self.vendor.recover(batch.expected(intent.idempotency_key))
        if answer is None:
            if is_reused:
                raise error
            return False
        self.till.store(intent, answer, sent)
        return True

    def _after_refusal(
        self, lot: list[EmbeddingRequest], error: VendorError
    ) -> list[EmbeddingRequest]:
        """What of an uncharged lot to try again; raises the error when trying cannot help."""
        if isinstance(error, BudgetExhausted):
            affordable = self._shelf.affordable(lot, error.remaining)
            self._shelf.put_back(lot[len(affordable) :])
            if not affordable:
                self._vendor_is_empty = True
                self.stop()
            elif len(affordable) == len(lot):
                detail = (
                    f"The vendor refuses {self._shelf.units(lot)} units for want of budget and "
                    f"says that {error.remaining} remain."
                )
                raise VendorMisbehaved(detail, charged=False, status=402, code="misbehaved")
            return affordable
        index = guilty_item(error, len(lot))
        if index is None:
            half = len(lot) // 2
            self._shelf.put_back(lot[half:])
            return lot[:half]
        guilty = lot[index]
        self.till.refuse(guilty, code=error.code, detail=error.detail)
        self._shelf.strike([guilty])
        return lot[:index] + lot[index + 1 :]

    def _retry_listener(self) -> Callable[[Retry], None]:
        """A listener to one purchase's retries: a burst of pushback slows the pace down once."""
        sent_at = self._pace.halvings

        def on_retry(retry: Retry) -> None:
            nonlocal sent_at
            if retry.is_pushback:
                self._pace.slow_down(sent_at)
            sent_at = self._pace.halvings
            self.till.on_retry(concurrency=self._pace.limit)

        return on_retry
