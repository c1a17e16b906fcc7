"""Purchases of a killed run: found out about before anything new is bought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from cache.paid_cache import Intent
from student.errors import AnswerPurged, BadInput
from student.purchase.embedding_rows import digests_sent
from student.purchase.plan import Plan
from student.purchase.recorder import PurchaseRecorder
from student.purchase.requests import EmbeddingRequest
from student.vendor.client import VendorClient
from student.vendor.request import Expected, Item

# A request that was on its way when its client died is either charged or visible as in flight
# (409) after this many seconds.
SECOND_LOOK = 1.0
# Longer than a client keeps trying one purchase. The client of a younger one is dead, but what it
# sent last may be on its way yet: in a proxy, or in the vendor's queue.
ABANDONED_AFTER_MS = 10 * 60 * 1000

_log = logging.getLogger(__name__)
Outcome = Literal["ended", "left open", "of the living"]
Send = Callable[[Intent, list[EmbeddingRequest], tuple[Item, ...]], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Ends the open intents of the journal, one after the other.

    The vendor is asked first. What it has charged is stored; what it does not know is sent again
    under the same key, items and order when that is still wanted, and given up otherwise.
    """

    plan: Plan
    till: PurchaseRecorder
    vendor: VendorClient
    send: Send
    sleep: Callable[[float], Awaitable[None]]

    async def settle(self, intent: Intent) -> Outcome:
        """End one intent, leave it open where only time can tell, or leave it to a living run.

        To give up what a living run waits for would free units that are being charged there. What
        is left stays counted as spent.
        """
        if not self.till.is_ours(intent):
            _log.warning(
                "purchase %s is of another account or program: left open, %d units counted",
                intent.idempotency_key,
                intent.units,
            )
            return "left open"
        with self.till.standing_in_for(intent) as may_end_it:
            return await self._end(intent) if may_end_it else "of the living"

    async def _end(self, intent: Intent) -> Outcome:
        if await self._recover(intent):
            return "ended"
        lot = self._lot(intent)
        reason = self._why_not_again(intent, lot)
        if reason is None and lot is not None:
            try:
                items = await asyncio.to_thread(lambda: tuple(one.item() for one in lot))
            except BadInput as error:
                reason = str(error)
            else:
                await self.send(intent, lot, items)
                return "ended"
        return await self._give_up(intent, reason or "")

    def _lot(self, intent: Intent) -> list[EmbeddingRequest] | None:
        keys = set(intent.keys)
        by_key = {one.key: one for one in self.plan.ordered if one.key in keys}
        lot = [by_key[key] for key in intent.keys if key in by_key]
        return lot if len(lot) == len(intent.keys) else None

    def _why_not_again(self, intent: Intent, lot: list[EmbeddingRequest] | None) -> str | None:
        if intent.keys[0].model_fingerprint != self.plan.model.fingerprint:
            return "it asked for another model"
        if lot is None:
            return "not all of its items are wanted any more"
        if self.plan.units_of(lot) != intent.units:
            return "its price has changed"
        if len(self.till.unpaid(lot)) != len(lot) or self.till.contested(intent):
            return "another purchase has part of its items"
        return None

    async def _give_up(self, intent: Intent, reason: str) -> Outcome:
        # A claim that lost is withdrawn before its send, so it can be given up at any age.
        has_lost = self.till.contested(intent) or self.till.is_partly_paid(intent)
        age_ms = self.till.now_ms() - intent.created_ms
        if not has_lost and age_ms < ABANDONED_AFTER_MS:
            _log.warning(
                "purchase %s is not sent again: %s. The vendor does not know it yet, and a request "
                "of the killed run may be on its way: left open, %d units counted",
                intent.idempotency_key,
                reason,
                intent.units,
            )
            return "left open"
        await self.sleep(SECOND_LOOK)
        if await self._recover(intent):
            return "ended"
        self.till.cache.abandon(intent.idempotency_key)
        _log.warning(
            "purchase %s is given up: %s. The vendor says twice that it never charged it",
            intent.idempotency_key,
            reason,
        )
        return "ended"

    async def _recover(self, intent: Intent) -> bool:
        """Whether the vendor has charged the purchase: then it is stored, or lost, and ended."""
        model = self.plan.model
        is_planned = intent.keys[0].model_fingerprint == model.fingerprint
        expected = Expected(
            idempotency_key=intent.idempotency_key,
            modalities=tuple(key.modality for key in intent.keys),
            units=intent.units,
            model=model.id if is_planned else None,
            model_fingerprint=intent.keys[0].model_fingerprint,
            dim=model.dim if is_planned else None,
        )
        try:
            answer = await self.vendor.recover(expected)
        except AnswerPurged as error:
            self.till.lose(intent, error.detail)
            return True
        if answer is None:
            return False
        sent = digests_sent(intent.keys, self.plan.ordered)
        self.till.store_recovered(intent, answer, sent)
        return True
