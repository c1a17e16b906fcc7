"""The purchase of a distillation run, and the embeddings that are trained on afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from cache.embedding_table import materialise
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from student.console import Terminal, quiet
from student.data.image_set import ImageSet
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import PurchaseError
from student.evaluation.results import Purchase
from student.options import Options, TrainingOptions
from student.purchase.cost import purchase_cost
from student.purchase.plan import Plan
from student.purchase.progress import PurchaseSummary, waiting_advice
from student.purchase.rounds import PurchaseResult, run_purchase
from student.purchase.session import ask_for_model
from student.purchase.sold_network import sold_network
from student.report.break_even import bulk_milliseconds, request_latency
from student.training.methods import Method
from student.wires.open import open_vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPurchase:
    """The purchase of a run, with all that it takes; `stops_at_guesses` as in `run_purchase`."""

    options: Options
    scanned: ImageSet
    cache: PaidCache
    key: SecretStr
    terminal: Terminal
    command: str
    stops_at_guesses: bool = False

    def buy(self) -> PurchaseResult | Plan:
        """Opens the vendor and buys, as `run_purchase` does."""
        return asyncio.run(self._buy())

    def check(self) -> None:
        """Refuses what a plan refuses, and says and buys nothing. Raises StudentError."""
        replace(self, options=self.options.changed(dry_run=True), terminal=quiet()).buy()

    async def _buy(self) -> PurchaseResult | Plan:
        async with open_vendor(self.options.purchase, self.key) as vendor:
            return await run_purchase(
                vendor,
                self.options,
                self.scanned,
                self.cache,
                self.terminal,
                self.command,
                stops_at_guesses=self.stops_at_guesses,
            )


def ask(
    options: Options,
    students: Sequence[tuple[Method, TrainingOptions]],
    key: SecretStr,
    terminal: Terminal,
) -> None:
    """Refuses a vendor that is not there or has no such model, before any image is rendered."""

    async def asked() -> None:
        async with open_vendor(options.purchase, key) as vendor:
            await ask_for_model(vendor, options.purchase, students, terminal)

    asyncio.run(asked())


def stored_purchase(
    options: Options, result: PurchaseResult, cache: PaidCache
) -> tuple[Purchase, TeacherEmbeddings]:
    """The cost and the embeddings of the purchase, as now stored in the cache.

    Raises PurchaseError if a class prompt is missing. A missing caption is not measured.
    """
    plan, bought = result.plan, result.summary
    keys: list[EmbeddingKey] = [request.key for request in plan.ordered]
    missing = set(cache.missing(keys))
    texts = [key for key in missing if key.modality == "text"]
    if texts and not options.data.unlabelled:
        message = (
            f"{len(texts)} class prompts are not in the cache and nothing can be trained without "
            f"them; what was bought is stored: {_advice(texts, bought, cache)}"
        )
        raise PurchaseError(message)
    held = [key for key in keys if key not in missing]
    rows = {key: row for row, key in enumerate(held)}
    table = materialise(cache, held, options.run.out / "embeddings")
    cost = purchase_cost(cache, held, plan.prices)
    request = request_latency(cost.receipts, list(cache.runs()))
    purchased = Purchase(
        run=result.run,
        model=plan.model.id,
        fingerprint=plan.model.fingerprint,
        units=cost.units,
        cost_micro_usd=cost.cost_micro_usd,
        bought_now=bought.units,
        already_paid=plan.already_paid,
        left_out=bought.left_out,
        micro_usd_per_image=plan.prices.cost(plan.prices.units.image),
        receipts_digest=cost.digest,
        vendor_milliseconds=bulk_milliseconds(cost.receipts),
        vendor_request_milliseconds=None if request is None else request.request_milliseconds,
        vendor_request_items=None if request is None else request.request_items,
    )
    return purchased, TeacherEmbeddings(table=table, rows=rows, sold=sold_network(plan.model))


def _advice(texts: Sequence[EmbeddingKey], bought: PurchaseSummary, cache: PaidCache) -> str:
    """Returns what the user can do about prompts that are missing after this purchase."""
    if refused := cache.refused(texts):
        detail = next(iter(refused.values())).detail
        return f"the vendor refuses {len(refused)} of them ({detail}); rename the classes"
    if bought.stop_reason == "waiting":
        return waiting_advice(bought)
    if bought.stop_reason == "vendor budget":
        return "run again when the account at the vendor can pay"
    return "the budget is spent; run again with a higher --budget"
