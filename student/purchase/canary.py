"""The canary: two fixed items, bought once a run, that show whether a vendor's model has changed.

A vendor that is bought from over a wire states no fingerprint. The same two items have the same
embeddings as long as the model is the same: if they move, nothing else is bought.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cache.records.embedding_key import EmbeddingKey, text_item
from cache.records.purchase_records import PaidEmbedding
from cache.reports.spend import iso_time
from cache.storage.reader import CacheReader
from student.data.views import png
from student.errors import ModelChanged, PlanExceedsBudget, PurchaseError
from student.purchase.buyer import buy
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.vendor.schemas import Model, Prices
from student.wires.protocol import Vendor

LEAST_COSINE = 0.999
"""Of a canary to the first one of its model; below it, the model is another one."""

_TEXT = "a canary on a perch"
_SIZE = 224


def canary_units(vendor: Vendor, prices: Prices) -> int:
    """The queries of a canary; 0 for a vendor that states a fingerprint."""
    if vendor.knows_purchases:
        return 0
    return prices.units_for("image") + prices.units_for("text")


async def check_canary(recorder: PurchaseRecorder, vendor: Vendor) -> PurchaseSummary | None:
    """Buy the canary of this run, and hold it against the first one; None if there is none to buy.

    Raises ModelChanged where it has moved, and PlanExceedsBudget or PurchaseError where it cannot
    be bought. Nothing else has been bought then.
    """
    plan, cache, payer = recorder.plan, recorder.cache, recorder.journal.payer
    run = payer.run.partition(".")[0]  # a run that buys in rounds has one canary
    wanted = _requests(plan.model.fingerprint, run)
    if vendor.knows_purchases or not plan.to_buy or not cache.missing([one.key for one in wanted]):
        return None
    own = make_plan(wanted, cache=cache, model=plan.model, prices=plan.prices, budget=payer.budget)
    _require_budget(own)
    summary = await buy(PurchaseRecorder(PurchaseJournal(own, cache=cache, payer=payer)), vendor)
    found = cache.fetch([one.key for one in wanted])
    if len(found) < len(wanted):
        reasons = "; ".join(f"{one.request.name}: {one.detail}" for one in summary.refused)
        message = (
            f"the canary, an image and a text that check the model, could not be bought"
            f"{f' ({reasons})' if reasons else ''}: nothing else was bought"
        )
        raise PurchaseError(message)
    _require_unmoved(cache, plan.model, list(found.values()), vendor.url)
    return summary


def _require_budget(plan: Plan) -> None:
    if plan.left_out:
        raise PlanExceedsBudget(
            needed=plan.units_of((*plan.to_buy, *plan.left_out)),
            remaining=plan.remaining,
            limited_by=plan.limited_by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """A canary of an earlier run beside that of this run."""

    run: str
    created_ms: int
    cosine: float


def _require_unmoved(
    cache: CacheReader, model: Model, today: Iterable[PaidEmbedding], url: str
) -> None:
    """Hold each item of today's canary against the first canary of this model."""
    runs = _runs(cache, model.fingerprint)
    for row in today:
        earlier = [
            found
            for run in runs
            if (found := cache.get(_key(model.fingerprint, row.key.modality, run))) is not None
            and found.key != row.key
        ]
        earlier.sort(key=lambda found: found.created_ms)
        if not earlier:
            continue
        first = earlier[0]
        cosine = _cosine(first, row)
        if cosine >= LEAST_COSINE:
            continue
        still = max(one.created_ms for one in earlier if _cosine(first, one) >= LEAST_COSINE)
        detail = (
            f"The model {model.id} at {url} has changed: the {row.key.modality} of the canary has "
            f"a cosine of {cosine:.4f} to its first embedding ({iso_time(first.created_ms)}), and "
            f"{LEAST_COSINE} is the least. It was unmoved at {iso_time(still)}, so the change came "
            "after that. Nothing but the canary was bought, and nothing is mixed. To go on with "
            "the new model, buy everything from it under a new --model-revision."
        )
        raise ModelChanged(detail, charged=True)


def _cosine(first: PaidEmbedding, second: PaidEmbedding) -> float:
    """Between two unit vectors; 0 if they differ in length."""
    if first.vector.shape != second.vector.shape:
        return 0.0
    return float(first.vector.astype(np.float64) @ second.vector.astype(np.float64))


def _runs(cache: CacheReader, fingerprint: str) -> list[str]:
    """The runs that may have bought a canary of this model."""
    bought = (
        stored.run
        for stored in cache.stored_receipts()
        if stored.receipt.is_from_client and stored.receipt.model_fingerprint == fingerprint
    )
    return list(dict.fromkeys(run.partition(".")[0] for run in bought))


def _key(fingerprint: str, modality: str, run: str) -> EmbeddingKey:
    is_image = modality == "image"
    item = hashlib.sha256(_pixels().tobytes()).hexdigest() if is_image else text_item(_TEXT)
    return EmbeddingKey(
        model_fingerprint=fingerprint,
        modality="image" if is_image else "text",
        item=item,
        view=f"canary#{run}",
    )


def _requests(fingerprint: str, run: str) -> list[EmbeddingRequest]:
    return [
        EmbeddingRequest(
            key=_key(fingerprint, "text", run), payload=_TEXT, name=f'canary "{_TEXT}"'
        ),
        EmbeddingRequest(
            key=_key(fingerprint, "image", run),
            payload=lambda: png(_pixels()),
            name="canary image",
            made_pixels=_SIZE * _SIZE,
        ),
    ]


def _pixels() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A yellow disc before a sky, over a brown bar: the same pixels on every machine."""
    rows, columns = np.mgrid[0:_SIZE, 0:_SIZE]
    picture = np.empty((_SIZE, _SIZE, 3), dtype=np.uint8)
    picture[..., 0] = 96 + rows // 4
    picture[..., 1] = 160 + columns // 8
    picture[..., 2] = 232
    picture[(rows - 100) ** 2 + (columns - 112) ** 2 < 60**2] = (240, 208, 32)
    picture[160:176] = (112, 72, 40)
    return picture
