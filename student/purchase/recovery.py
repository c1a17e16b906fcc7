"""Settles the purchases that a killed run left open, before anything new is bought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from cache.paid_cache import Intent
from cache.reports.spend import iso_time
from student.errors import AnswerPurged, BadInput
from student.purchase.doubt import SENT_BY_A_KILLED_RUN
from student.purchase.embedding_requests import EmbeddingRequest, digests_sent
from student.purchase.journal import ABANDONED_AFTER_MS as ABANDONED_AFTER_MS
from student.purchase.recorder import PurchaseRecorder
from student.vendor.request import ExpectedAnswer, Item, is_unknown_to_vendor
from student.wires.protocol import Vendor

# A request that was on its way when its client died is either charged or visible as in flight
# (409) after this many seconds.
SECOND_CHECK_SECONDS = 1.0

_log = logging.getLogger(__name__)
Outcome = Literal["settled", "left open", "owned by a live run"]
Send = Callable[[Intent, list[EmbeddingRequest], tuple[Item, ...]], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Settles the journal's open intents, one after the other.

    The vendor is asked first. What it has charged is stored. What it does not know is sent again
    under the same key, with the same items in the same order, if it is still wanted; otherwise it
    is abandoned.
    """

    recorder: PurchaseRecorder
    vendor: Vendor
    send: Send
    sleep: Callable[[float], Awaitable[None]]

    async def settle(self, intent: Intent) -> Outcome:
        """Settle one intent, or leave it open where only time can tell whether it is charged.

        An intent of a live run is never abandoned: its units may be charged at this moment. An
        intent that is left open stays counted as spent.
        """
        if is_unknown_to_vendor(intent):
            with self.recorder.journal.hold_run_of(intent) as may_settle:
                if may_settle:
                    self.recorder.book_doubt(intent, SENT_BY_A_KILLED_RUN)
            return "settled" if may_settle else "owned by a live run"
        if not self.recorder.journal.is_own(intent):
            _log.warning(
                "purchase %s belongs to another account or program: left open, %d queries counted",
                intent.idempotency_key,
                intent.units,
            )
            return "left open"
        with self.recorder.journal.hold_run_of(intent) as may_settle:
            return await self._settle(intent) if may_settle else "owned by a live run"

    async def _settle(self, intent: Intent) -> Outcome:
        if await self._recover(intent):
            return "settled"
        requests = self._requests_of(intent)
        reason = self._why_not_again(intent, requests)
        if reason is None and requests is not None:
            try:
                items = await asyncio.to_thread(
                    lambda: tuple(request.item() for request in requests)
                )
            except BadInput as error:
                reason = str(error)
            else:
                await self.send(intent, requests, items)
                return "settled"
        return await self._abandon(intent, reason or "")

    def _requests_of(self, intent: Intent) -> list[EmbeddingRequest] | None:
        keys = set(intent.keys)
        by_key = {
            request.key: request for request in self.recorder.plan.ordered if request.key in keys
        }
        requests = [by_key[key] for key in intent.keys if key in by_key]
        return requests if len(requests) == len(intent.keys) else None

    def _why_not_again(self, intent: Intent, requests: list[EmbeddingRequest] | None) -> str | None:
        plan, journal = self.recorder.plan, self.recorder.journal
        if intent.keys[0].model_fingerprint != plan.model.fingerprint:
            return "it asked for another model"
        if requests is None:
            return "not all of its items are wanted any more"
        if plan.units_of(requests) != intent.units:
            return "its price has changed"
        if len(journal.unpaid(requests)) != len(requests) or journal.contested(intent):
            return "another purchase has part of its items"
        return None

    async def _abandon(self, intent: Intent, reason: str) -> Outcome:
        journal = self.recorder.journal
        # A claim that lost to an earlier one was withdrawn before it was sent, whatever its age.
        has_lost = journal.contested(intent) or journal.is_partly_paid(intent)
        age_ms = journal.now_ms() - intent.created_ms
        if not has_lost and age_ms < ABANDONED_AFTER_MS:
            _log.warning(
                "purchase %s is not sent again: %s. The vendor does not know it yet, and a request "
                "of the killed run may be on its way: left open, %d queries counted. A run can "
                "settle it from %s on",
                intent.idempotency_key,
                reason,
                intent.units,
                iso_time(journal.settles_at_ms(intent)),
            )
            return "left open"
        await self.sleep(SECOND_CHECK_SECONDS)
        if await self._recover(intent):
            return "settled"
        journal.abandon(intent)
        _log.warning(
            "purchase %s is abandoned: %s. The vendor confirmed twice that it never charged it",
            intent.idempotency_key,
            reason,
        )
        return "settled"

    async def _recover(self, intent: Intent) -> bool:
        """Whether the vendor has charged the purchase: then it is stored or written off."""
        plan = self.recorder.plan
        is_planned = intent.keys[0].model_fingerprint == plan.model.fingerprint
        expected = ExpectedAnswer(
            idempotency_key=intent.idempotency_key,
            modalities=tuple(key.modality for key in intent.keys),
            units=intent.units,
            model=plan.model.id if is_planned else None,
            model_fingerprint=intent.keys[0].model_fingerprint,
            fingerprint_v2=plan.model.fingerprint_v2 if is_planned else "",
            dim=plan.model.dim if is_planned else None,
        )
        try:
            answer = await self.vendor.recover(expected)
        except AnswerPurged as error:
            self.recorder.write_off(intent, error.detail)
            return True
        if answer is None:
            return False
        sent = digests_sent(intent.keys, plan.ordered)
        self.recorder.store_recovered(intent, answer, sent)
        return True
