"""Paid answers whose rows are gone from the cache: the vendor gives them again, free of charge."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from cache.paid_cache import MissingRows
from cache.records.embedding_key import EmbeddingKey
from student.errors import AnswerPurged, VendorMisbehaved
from student.purchase.embedding_rows import digests_sent, rows_of
from student.purchase.plan import Plan
from student.purchase.recorder import PurchaseRecorder
from student.vendor.client import VendorClient
from student.vendor.request import Expected

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Puts back what was paid for, before anything is bought again."""

    plan: Plan
    till: PurchaseRecorder
    vendor: VendorClient

    async def restore(self, lost: MissingRows) -> tuple[EmbeddingKey, ...]:
        """Fetch one paid answer and put its rows back; the keys that are there again.

        None are when the vendor does not have it any more, which is said and, where the vendor
        says that it deleted the answer, kept on record, so that its items can be bought again.
        """
        purchase, receipt = lost.purchase, lost.purchase.receipt
        name = receipt.idempotency_key
        if not self.till.is_ours(purchase.intent):
            _log.warning("purchase %s has lost rows, and is of another account: left", name)
            return ()
        expected = Expected(
            idempotency_key=name,
            modalities=tuple(key.modality for key in purchase.keys),
            units=receipt.units,
            model=receipt.model,
            model_fingerprint=receipt.model_fingerprint,
            price_version=receipt.price_version,
            cost_micro_usd=receipt.cost_micro_usd,
        )
        try:
            answer = await self.vendor.recover(expected)
        except AnswerPurged as error:
            self.till.lose(purchase.intent, error.detail)
            return ()
        if answer is None:
            _log.warning("purchase %s has lost rows, and the vendor does not know it", name)
            return ()
        if answer.receipt != receipt:
            detail = (
                f"The vendor gives purchase {name} another receipt ({answer.receipt.hash}) than "
                f"when it was paid for ({receipt.hash}). Nothing was changed."
            )
            raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")
        sent = digests_sent(purchase.keys, self.plan.ordered)
        self.till.restore(purchase, rows_of(answer, purchase.keys, sent))
        return lost.missing
