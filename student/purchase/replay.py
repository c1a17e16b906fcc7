"""Paid answers whose rows are missing from the cache: the vendor sends them again for free."""

from __future__ import annotations

import logging

from cache.paid_cache import MissingRows
from cache.records.embedding_key import EmbeddingKey
from student.errors import AnswerPurged, VendorMisbehaved
from student.purchase.embedding_requests import digests_sent
from student.purchase.recorder import PurchaseRecorder
from student.vendor.request import ExpectedAnswer
from student.wires.protocol import Vendor

_log = logging.getLogger(__name__)


async def restore_rows(
    missing: MissingRows, recorder: PurchaseRecorder, vendor: Vendor
) -> tuple[EmbeddingKey, ...]:
    """Fetch a paid answer again, before anything is bought, and return the keys that it restored.

    Empty, with a warning in the log, where the purchase belongs to another account or the vendor no
    longer has the answer. An answer that the vendor says it deleted is written off, so that its
    items can be bought again. Raises VendorError, and VendorMisbehaved for another receipt.
    """
    purchase, receipt = missing.purchase, missing.purchase.receipt
    name = receipt.idempotency_key
    if receipt.is_from_client:
        _log.warning(
            "purchase %s has missing rows, and its vendor keeps no answers: they are bought again "
            "where a plan needs them",
            name,
        )
        return ()
    if not recorder.journal.is_own(purchase.intent):
        _log.warning(
            "purchase %s has missing rows and belongs to another account: not restored", name
        )
        return ()
    expected = ExpectedAnswer(
        idempotency_key=name,
        modalities=tuple(key.modality for key in purchase.keys),
        units=receipt.units,
        model=receipt.model,
        model_fingerprint=purchase.keys[0].model_fingerprint,
        price_version=receipt.price_version,
        cost_micro_usd=receipt.cost_micro_usd,
    )
    try:
        answer = await vendor.recover(expected)
    except AnswerPurged as error:
        recorder.write_off(purchase.intent, error.detail)
        return ()
    if answer is None:
        _log.warning("purchase %s has missing rows, and the vendor does not know it", name)
        return ()
    if answer.receipt != receipt:
        detail = (
            f"The vendor sends another receipt for purchase {name} ({answer.receipt.hash}) than "
            f"when it was paid for ({receipt.hash}). Nothing was changed."
        )
        raise VendorMisbehaved(detail, charged=True, status=200, code="misbehaved")
    recorder.restore(purchase, answer, digests_sent(purchase.keys, recorder.plan.ordered))
    return missing.missing
