"""Buys a plan and records the run in the cache, so that its reports can list it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from cache.paid_cache import now_ms
from cache.records.embedding_key import EmbeddingKey
from cache.records.purchase_records import RunRecord
from cache.storage.reader import CacheReader
from student.purchase.buyer import buy
from student.purchase.canary import check_canary
from student.purchase.progress import PurchaseSummary
from student.purchase.recorder import PurchaseRecorder
from student.vendor.schemas import Model
from student.wires.protocol import Vendor


def new_run_name(kind: str) -> str:
    """A name that no other run has: `kind`, the time in UTC and a few random digits."""
    return f"{kind}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabel:
    """The name and the command under which the cache records a run."""

    name: str
    command: str


async def buy_and_record(
    recorder: PurchaseRecorder,
    vendor: Vendor,
    *,
    command: str,
    batch_size: int = 64,
    concurrency: int = 4,
    counted: Collection[EmbeddingKey] = (),
) -> PurchaseSummary:
    """Check the canary, buy the recorder's plan as `buy` does, and record the run under `command`.

    `counted` are the keys that an earlier round of the same run has counted; they are not counted
    again as found in the cache, because the run itself has paid for them.
    """
    plan, cache = recorder.plan, recorder.cache
    already_counted = set(counted)
    fresh = [request.key for request in plan.ordered if request.key not in already_counted]
    missing = set(cache.missing(fresh))
    found = [key for key in fresh if key not in missing]
    record = RunRecord(
        run=recorder.journal.payer.run,
        started_ms=now_ms(),
        command=command,
        model=plan.model.id,
        model_fingerprint=plan.model.fingerprint,
        model_fingerprint_v2=plan.model.fingerprint_v2,
        planned=len(fresh),
        already_paid=len(found),
        paid_units=sum(plan.prices.units_for(key.modality) for key in found),
        bought_units=0,
        cost_micro_usd=0,
        micro_usd_per_unit=plan.prices.micro_usd_per_unit,
    )
    is_new_model = (
        plan.model.fingerprint_v2 and plan.model.fingerprint not in cache.configurations()
    )
    if is_new_model or recorder.journal.payer.lease is not None:
        # Before the first purchase, whose rows it describes, and before anything is leased: only a
        # cache that knows a run can say what the run spent.
        cache.record_run(record)
    canary = await check_canary(recorder, vendor)
    summary = await buy(recorder, vendor, batch_size=batch_size, concurrency=concurrency)
    if canary is not None:
        summary = replace(
            summary,
            units=summary.units + canary.units,
            cost_micro_usd=summary.cost_micro_usd + canary.cost_micro_usd,
            in_doubt=summary.in_doubt + canary.in_doubt,
        )
    bought = replace(
        record,
        bought_units=summary.units,
        cost_micro_usd=summary.cost_micro_usd,
        retries=summary.retries,
        request_milliseconds=summary.request_milliseconds,
        request_items=summary.request_items,
    )
    cache.record_run(bought)
    return summary


def named_in(cache: CacheReader, model: Model) -> Model:
    """The model under the fingerprint that its embeddings have in this cache.

    That is its second fingerprint where the cache holds embeddings of a model of another
    configuration under its first, and its first otherwise.
    """
    known = cache.configurations().get(model.fingerprint, "")
    if not known or model.fingerprint_v2 in ("", known):
        return model
    return model.model_copy(update={"fingerprint": model.fingerprint_v2})
