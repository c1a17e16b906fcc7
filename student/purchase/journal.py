"""The journal of open purchases, as one run reads it and adds to it."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cache.errors import CacheError, CacheUnavailable
from cache.paid_cache import Intent, PaidCache
from cache.paid_cache import now_ms as unix_ms
from cache.records.embedding_key import EmbeddingKey
from cache.records.receipt import CLIENT_KNOWS
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.plan import Plan
from student.vendor.request import (
    VENDOR_KNOWS,
    belongs_to,
    is_unknown_to_vendor,
    purchase_key,
)

if TYPE_CHECKING:
    from student.shared_budget.lease import Lease

# Longer than a client keeps trying one purchase. The client of a younger purchase is dead, but its
# last request may still be on its way, in a proxy or in the vendor's queue.
ABANDONED_AFTER_MS = 10 * 60 * 1000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays for a purchase.

    `run` names this run of the client and must be new each time; `account` is what
    `ledger_name` of the vendor returns; `budget` is the most queries that this cache may ever pay
    for, receipts and open purchases together. `is_known_to_vendor`: whether the vendor can be asked
    for a purchase by its key. `lease` is what this run may spend of a budget that it shares with
    other caches.
    """

    run: str
    account: str
    budget: int
    is_known_to_vendor: bool = True
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The outcome of a claim: an intent in the journal, or why there is none.

    Without an intent, `free` are the requests that can still be bought. The others have been paid
    for meanwhile or, if the claim `is_contested`, an earlier open purchase asks for them.
    """

    intent: Intent | None
    free: list[EmbeddingRequest]
    is_contested: bool


class PurchaseJournal:
    """Claims what a plan buys, so that no other run buys it too; and finds what others claim."""

    def __init__(
        self,
        plan: Plan,
        *,
        cache: PaidCache,
        payer: Payer,
        now_ms: Callable[[], int] = unix_ms,
    ) -> None:
        self.plan = plan
        self.cache = cache
        self.payer = payer
        self.now_ms = now_ms

    def unpaid(self, requests: Sequence[EmbeddingRequest]) -> list[EmbeddingRequest]:
        """The requests that are neither in the cache nor refused, in their order."""
        keys = [request.key for request in requests]
        missing = set(self.cache.missing(keys)) - self.cache.refused(keys).keys()
        return [request for request in requests if request.key in missing]

    def open_keys(self) -> set[EmbeddingKey]:
        """Every key that an open purchase asks for."""
        return {key for intent in self.cache.open_intents() for key in intent.keys}

    @contextmanager
    def hold_run_of(self, intent: Intent) -> Iterator[bool]:
        """Hold the lock of the dead run that made `intent` while the intent is being settled.

        Yields False where that run is alive, where another process settles it, or where the intent
        has been settled since it was read.
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

    def settles_at_ms(self, intent: Intent) -> int:
        """When a run can settle an open purchase of a dead run at the latest, in Unix time."""
        return intent.created_ms + ABANDONED_AFTER_MS

    def waits_until_ms(self, requests: Sequence[EmbeddingRequest]) -> int | None:
        """When all open purchases that ask for some of these can be settled by this account.

        None if there is no such time: another account made one of them, or its run is alive.
        """
        wanted = {one.key for one in requests}
        held = [one for one in self.cache.open_intents() if not wanted.isdisjoint(one.keys)]
        held = [
            one for one in held if not is_unknown_to_vendor(one) or self.cache.is_running(one.run)
        ]
        if any(not self.is_own(one) or self.cache.is_running(one.run) for one in held):
            return None
        return max((self.settles_at_ms(one) for one in held), default=None)

    def is_own(self, intent: Intent) -> bool:
        """Whether the intent was made for this account, which its key proves."""
        return belongs_to(self.payer.account, intent)

    def claim(self, requests: Sequence[EmbeddingRequest]) -> Claim:
        """Journal a purchase of these, unless someone else pays or has paid for part of them.

        The intent is written first, and other intents are read second. If two processes want the
        same item, the process whose intent came later sees the earlier intent and withdraws before
        anything is sent. Raises ClientBudgetExceeded, or SharedBudgetError, with nothing
        journalled.
        """
        keys = tuple(request.key for request in requests)
        intent = Intent(
            idempotency_key=self._name(keys),
            keys=keys,
            units=self.plan.units_of(requests),
            run=self.payer.run,
            created_ms=self.now_ms(),
        )
        self._reserve(intent)
        contested = self.contested(intent)
        # Read only now: a rival that stored its answer since is in the rows, not in the journal.
        unpaid = self.unpaid(requests)
        if len(unpaid) == len(requests) and not contested:
            return Claim(intent=intent, free=list(requests), is_contested=False)
        self.abandon(intent)
        return Claim(
            intent=None,
            free=[request for request in unpaid if request.key not in contested],
            is_contested=any(request.key in contested for request in unpaid),
        )

    def abandon(self, intent: Intent) -> None:
        """Close an open purchase that the vendor did not charge, and free its queries."""
        self.cache.abandon(intent.idempotency_key)
        lease = self.payer.lease
        # The queries of another run's purchase are in the lease of that run.
        if lease is not None and intent.run == self.payer.run:
            lease.give_back(intent.units)

    def _reserve(self, intent: Intent) -> None:
        lease = self.payer.lease
        if lease is not None:
            lease.take(intent.units)
        try:
            self.cache.reserve(intent, budget=self.payer.budget)
        except CacheUnavailable:
            raise  # whether it is on record is not certain: its queries stay counted
        except CacheError:
            if lease is not None:
                lease.give_back(intent.units)
            raise

    def _name(self, keys: Sequence[EmbeddingKey]) -> str:
        is_known = self.payer.is_known_to_vendor
        return purchase_key(
            account=self.payer.account,
            model_fingerprint=keys[0].model_fingerprint,
            digests=[key.digest for key in keys],
            # A vendor that knows no keys charges each request: each is a purchase of its own.
            epoch=self.payer.run if is_known else f"{self.payer.run} {secrets.token_hex(8)}",
            prefix=VENDOR_KNOWS if is_known else CLIENT_KNOWS,
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
