"""The cache's side of a purchase: claims before a send, stores after it, keeps the count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from cache.errors import CacheUnavailable
from cache.paid_cache import Intent, PaidCache, PaidEmbedding, Purchase
from cache.records.embedding_key import EmbeddingKey
from student.errors import ModelChanged, PriceChanged, VendorMisbehaved
from student.purchase.embedding_rows import rows_of
from student.purchase.plan import Plan
from student.purchase.progress import Listener, Progress, PurchaseSummary, Refused, StopReason
from student.purchase.requests import EmbeddingRequest
from student.vendor.receipt_chain import ReceiptChain
from student.vendor.request import is_of, purchase_key
from student.vendor.response import Answer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The outcome of a claim: an intent in the journal, or why there is none.

    Without an intent, `free` are the items still to be had; the rest has been paid meanwhile or,
    if it `is_contested`, another purchase in the journal asks for it.
    """

    intent: Intent | None
    free: list[EmbeddingRequest]
    is_contested: bool


class PurchaseRecorder:
    """Writes to the cache for one purchase, and tells the listener after every change."""

    def __init__(
        self,
        plan: Plan,
        *,
        cache: PaidCache,
        account: str,
        budget: int,
        run: str,
        listener: Listener,
        now_ms: Callable[[], int],
    ) -> None:
        self.cache = cache
        self.now_ms = now_ms
        self.requests = 0
        self.refused: list[Refused] = []
        self._plan = plan
        self._account = account
        self._budget = budget
        self._run = run
        self._listener = listener
        self._ledger = ReceiptChain()
        self._progress = Progress(
            planned=len(plan.to_buy) + len(plan.in_flight), cached=plan.already_paid
        )

    @property
    def progress(self) -> Progress:
        return self._progress

    def unpaid(self, wanted: Sequence[EmbeddingRequest]) -> list[EmbeddingRequest]:
        """Those of `wanted` that are neither in the cache nor refused, in their order."""
        keys = [one.key for one in wanted]
        missing = set(self.cache.missing(keys)) - self.cache.refused(keys).keys()
        return [one for one in wanted if one.key in missing]

    def keys_in_flight(self) -> set[EmbeddingKey]:
        """Every key that an open intent asks for."""
        return {key for intent in self.cache.open_intents() for key in intent.keys}

    @contextmanager
    def standing_in_for(self, intent: Intent) -> Iterator[bool]:
        """Be the run that made `intent`, so that nobody else ends it meanwhile.

        False when that run is alive, in its own process or through another stand-in, or when the
        intent has been ended since it was read.
        """
        with ExitStack() as stack:
            if self.cache.is_running(intent.run):
                yield False
                return
            try:
                stack.enter_context(self.cache.hold_run_lock(intent.run))
            except CacheUnavailable as error:
                _log.info("purchase %s: %s", intent.idempotency_key, error)
                yield False
                return
            yield intent in self.cache.open_intents()

    def is_ours(self, intent: Intent) -> bool:
        """Whether an intent was made for this account: its key says so."""
        return is_of(self._account, intent)

    def claim(self, lot: Sequence[EmbeddingRequest]) -> Claim:
        """Journal the purchase of `lot`, unless somebody else pays or has paid for part of it.

        The intent is written first and the others are looked at second: of two processes that want
        the same item, the one whose intent came later sees the earlier one and withdraws, before
        anything is sent. Raises ClientBudgetExceeded with nothing journalled.
        """
        keys = tuple(one.key for one in lot)
        intent = Intent(
            idempotency_key=purchase_key(
                account=self._account,
                model_fingerprint=keys[0].model_fingerprint,
                digests=[key.digest for key in keys],
                epoch=self._run,
            ),
            keys=keys,
            units=self._plan.units_of(lot),
            run=self._run,
            created_ms=self.now_ms(),
        )
        self.cache.reserve(intent, budget=self._budget)
        contested = self.contested(intent)
        # Only now: a rival that stored its answer since has left the journal for the rows.
        unpaid = self.unpaid(lot)
        if len(unpaid) == len(lot) and not contested:
            return Claim(intent=intent, free=list(lot), is_contested=False)
        self.cache.abandon(intent.idempotency_key)
        return Claim(
            intent=None,
            free=[one for one in unpaid if one.key not in contested],
            is_contested=any(one.key in contested for one in unpaid),
        )

    def contested(self, intent: Intent) -> set[EmbeddingKey]:
        """The keys of `intent` that an earlier open intent asks for."""
        earlier: set[EmbeddingKey] = set()
        for other in self.cache.open_intents():
            if other.idempotency_key == intent.idempotency_key:
                break
            earlier.update(other.keys)
        return earlier.intersection(intent.keys)

    def is_partly_paid(self, intent: Intent) -> bool:
        """Whether another purchase has bought some of what `intent` asks for."""
        return len(self.cache.missing(intent.keys)) < len(intent.keys)

    def store(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        """Keep a paid answer for good; `sent` are the digests of what was sent, row by row.

        An answer of another model is kept under its own fingerprint, and then it is ModelChanged.
        """
        self._commit(intent, answer, sent)
        self._tell(bought=self._progress.bought + len(intent.keys))
        planned = intent.keys[0].model_fingerprint
        if answer.model_fingerprint != planned:
            detail = (
                f"The vendor answers as {answer.model_fingerprint} where the plan says {planned}: "
                "its model has changed. The answer is kept under its own name and nothing is mixed;"
                " run again to plan with the new model."
            )
            raise ModelChanged(detail, charged=True, request_id=answer.receipt.request_id)
        if answer.receipt.price_version != self._plan.prices.version:
            detail = (
                f"The vendor charged by price list {answer.receipt.price_version!r} where the plan "
                f"says {self._plan.prices.version!r}. The answer is kept; run again for a new plan."
            )
            raise PriceChanged(detail, charged=True, request_id=answer.receipt.request_id)

    def store_recovered(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        """Keep an answer that an earlier run paid for, by the model and prices of its day."""
        self._commit(intent, answer, sent)
        self._tell(recovered=self._progress.recovered + len(intent.keys))

    def restore(self, purchase: Purchase, rows: Sequence[PaidEmbedding]) -> None:
        """Put back the rows of a paid purchase that are gone; nothing is charged."""
        count = self.cache.restore(purchase, rows)
        self._tell(restored=self._progress.restored + count)

    def lose(self, intent: Intent, detail: str) -> None:
        """End a purchase that was charged and of which the vendor has no answer any more.

        The cache keeps it on record, its units stay spent, and its items can be bought again.
        """
        self.cache.write_off(intent, account=self._account, detail=detail)
        _log.warning(
            "purchase %s was charged (%d units) and its answer is lost: %s",
            intent.idempotency_key,
            intent.units,
            detail,
        )
        self._tell(lost=self._progress.lost + len(intent.keys))

    def refuse(self, wanted: EmbeddingRequest, *, code: str, detail: str) -> None:
        """Remember that the vendor will never embed this item, so that it is not asked again."""
        self.cache.refuse(wanted.key, code=code, detail=detail)
        self.refused.append(Refused(wanted=wanted, code=code, detail=detail))
        self._tell(refused=len(self.refused))

    def on_wire(self, items: int) -> None:
        """So many more items (or, negative, fewer) are in flight."""
        self._tell(in_flight=self._progress.in_flight + items)

    def on_retry(self, *, concurrency: int) -> None:
        """One more attempt, with so many requests allowed in flight."""
        self._tell(retries=self._progress.retries + 1, concurrency=concurrency)

    def at_pace(self, concurrency: int) -> None:
        """So many requests may be in flight now."""
        if concurrency != self._progress.concurrency:
            self._tell(concurrency=concurrency)

    def bought(self, *, vendor_is_empty: bool) -> PurchaseSummary:
        """The end of the purchase."""
        left = self.unpaid(self._plan.pending)
        in_flight = self.keys_in_flight()
        ending: StopReason = "complete"
        if left:
            ending = self._plan.wall
            if vendor_is_empty:
                ending = "vendor budget"
            elif any(one.key in in_flight for one in left):
                ending = "waiting"
        progress = self._progress
        return PurchaseSummary(
            ending=ending,
            bought=progress.bought,
            recovered=progress.recovered,
            cached=progress.cached,
            refused=tuple(self.refused),
            left_out=len(left),
            kept=len(self.cache.open_intents()),
            units=progress.units,
            cost_micro_usd=progress.cost_micro_usd,
            requests=self.requests,
            retries=progress.retries,
            restored=progress.restored,
            lost=progress.lost,
        )

    def _commit(self, intent: Intent, answer: Answer, sent: Sequence[str]) -> None:
        keys = tuple(
            replace(key, model_fingerprint=answer.model_fingerprint) for key in intent.keys
        )
        receipt = answer.receipt
        if (fault := self._ledger.fault(receipt)) is not None:
            detail = (
                f"The receipt of purchase {intent.idempotency_key} is of no honest ledger: "
                f"{fault}. None of it was stored."
            )
            raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")
        rows = rows_of(answer, keys, sent)
        self.cache.commit(replace(intent, keys=keys), rows, receipt, account=self._account)
        self.requests += 1
        self._progress = replace(
            self._progress,
            units=self._progress.units + receipt.units,
            cost_micro_usd=self._progress.cost_micro_usd + receipt.cost_micro_usd,
        )

    def _tell(self, **changes: int) -> None:
        self._progress = replace(self._progress, **changes)
        self._listener(self._progress)
