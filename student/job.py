"""The whole job: scan, plan, buy, train, report. The network ends where training begins."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from cache.identity import EmbeddingKey
from cache.paid import PaidCache, now_ms
from cache.report import markdown_report, receipts_digest
from cache.table import materialise
from cache.values import RunRecord
from student.compare import run_experiment
from student.demo_data.mark import is_demo_data
from student.errors import BadInput, PurchaseError
from student.experiment import Paid, methods_of
from student.purchase.buyer import buy
from student.purchase.plan import Plan, Wanted, make_plan
from student.purchase.progress import Bought
from student.purchase.vendor import VendorClient, connect
from student.purchase.wire import Model
from student.report.artefacts import write_artefacts
from student.report.economics import bulk_milliseconds
from student.results import Experiment, Purchase
from student.scan import Scanned, scan
from student.settings import JobSettings, api_key
from student.shopping import prompts_for, wanted_images, wanted_texts
from student.terminal import Terminal
from student.training.methods import METHODS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Settled:
    """The purchase when it is over."""

    plan: Plan
    bought: Bought
    run: str


def run_job(settings: JobSettings, terminal: Terminal, *, command: str) -> None:
    """Does everything that `distill-client` without a subcommand promises.

    Ctrl-C or a kill at any point loses nothing: the same command goes on from the cache and the
    checkpoints, and pays for nothing twice. Raises StudentError and CacheError.
    """
    key = _check(settings)
    scanned = scan(settings, terminal)
    with PaidCache.open(settings.cache) as cache:
        settled = asyncio.run(_purchase(settings, scanned, cache, key, terminal, command))
        if settled is None:
            return
        terminal.heading("distillation")
        purchase, paid = _take_stock(settings, settled, cache)
        experiments: list[Experiment] = []
        for split in scanned.splits:
            if split.targets:
                terminal.say(f"held out: {', '.join(split.targets)}")
            experiments.append(run_experiment(split, scanned, paid, settings, terminal))
        write_artefacts(
            settings.out,
            settings=settings,
            scanned=scanned,
            experiments=experiments,
            purchase=purchase,
            spend=markdown_report(cache),
            terminal=terminal,
        )


def _check(settings: JobSettings) -> SecretStr:
    """Refuses what cannot end well before anything is read, sent or paid."""
    if unknown := [name for name in methods_of(settings) if name not in METHODS]:
        message = f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}"
        raise BadInput(message)
    if settings.budget is None and not settings.dry_run:
        message = "no budget: name the most queries to pay for with --budget (see --dry-run first)"
        raise BadInput(message)
    return api_key(settings)


async def _purchase(
    settings: JobSettings,
    scanned: Scanned,
    cache: PaidCache,
    key: SecretStr,
    terminal: Terminal,
    command: str,
) -> _Settled | None:
    """Plans and buys; None after a dry run."""
    async with connect(settings.vendor, key, connections=settings.concurrency) as vendor:
        if not await vendor.ready():
            terminal.say(f"the vendor at {vendor.url} is not ready; asking again for some minutes")
        model = _chosen(await vendor.models(), settings.teacher)
        prices = await vendor.prices()
        account = await vendor.account()
        wanted = _wanted(settings, scanned, model)
        # What the account can still pay caps the plan too, so that texts come first in it as well.
        payable = cache.spend_on_record().committed_units + account.remaining_units
        budget = payable if settings.budget is None else min(settings.budget, payable)
        plan = make_plan(wanted, cache=cache, model=model, prices=prices, budget=budget)
        terminal.heading(f"purchase from {vendor.url}")
        terminal.plan(plan)
        if model.embedded and not is_demo_data(settings.data) and plan.to_buy:
            terminal.warn(
                "the vendor sells its embedded model, a small stand-in that knows emoji, and these "
                "are not the demo images: point the vendor at a real CLIP (README)"
            )
        if settings.budget is not None and payable < settings.budget and plan.left_out:
            terminal.warn(
                f"the account at the vendor has {account.remaining_units:,} queries left; "
                "buying stops there"
            )
        if settings.dry_run:
            terminal.say("dry run: nothing was bought")
            return None
        plan.require_texts()
        return await _buy(
            settings, plan, cache, vendor, vendor.ledger_name(account), terminal, command
        )


async def _buy(
    settings: JobSettings,
    plan: Plan,
    cache: PaidCache,
    vendor: VendorClient,
    account: str,
    terminal: Terminal,
    command: str,
) -> _Settled:
    run = f"run-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
    started_ms = now_ms()
    with terminal.buying() as progress:
        bought = await buy(
            plan,
            cache=cache,
            vendor=vendor,
            budget=plan.budget,
            run=run,
            account=account,
            batch_size=settings.batch_size,
            concurrency=settings.concurrency,
            progress=progress,
        )
    cache.record_run(
        RunRecord(
            run=run,
            started_ms=started_ms,
            command=command,
            model=plan.model.id,
            model_fingerprint=plan.model.fingerprint,
            planned=len(plan.ordered),
            already_paid=plan.already_paid,
            bought_units=bought.units,
            cost_micro_usd=bought.cost_micro_usd,
            micro_usd_per_unit=plan.prices.micro_usd_per_unit,
        )
    )
    terminal.say(
        f"bought {bought.units:,} queries; {plan.already_paid:,} answers were already paid for"
        + (f"; {bought.left_out:,} left out ({bought.ending})" if bought.left_out else "")
    )
    if bought.restored:
        terminal.say(f"{bought.restored:,} paid answers had gone from the cache: restored for free")
    if bought.lost:
        terminal.warn(
            f"{bought.lost:,} answers were paid for once and the vendor has deleted them; "
            "`cache-report` names the purchases"
        )
    for refused in bought.refused:
        terminal.warn(f"the vendor refused {refused.wanted.name}, free of charge: {refused.detail}")
    return _Settled(plan=plan, bought=bought, run=run)


def _chosen(models: Sequence[Model], name: str | None) -> Model:
    for model in models:
        if name is None or model.id == name:
            return model
    message = f"the vendor has no model {name}; it sells {', '.join(m.id for m in models)}"
    raise BadInput(message)


def _wanted(settings: JobSettings, scanned: Scanned, model: Model) -> list[Wanted]:
    prompts = [
        prompt
        for one in scanned.splits
        for name in scanned.catalogue.classes
        for prompt in prompts_for(name, one.sources, settings.prompts)
    ]
    texts = wanted_texts(model.fingerprint, list(dict.fromkeys(prompts)))
    images = wanted_images(model.fingerprint, scanned.training, scanned.stored, seed=settings.seed)
    return [*texts, *images]


def _take_stock(
    settings: JobSettings, settled: _Settled, cache: PaidCache
) -> tuple[Purchase, Paid]:
    """What is on hand now, and the receipts that paid for it."""
    plan, bought = settled.plan, settled.bought
    keys: list[EmbeddingKey] = [one.key for one in plan.ordered]
    missing = set(cache.missing(keys))
    if texts := [key for key in missing if key.modality == "text"]:
        message = (
            f"{len(texts)} class prompts are not paid for ({bought.ending}) and nothing can be "
            "trained without them; what was bought is stored: run again when the account can pay"
        )
        raise PurchaseError(message)
    held = [key for key in keys if key not in missing]
    rows = {key: row for row, key in enumerate(held)}
    table = materialise(cache, held, settings.out / "embeddings")
    requests = {row.request_id for row in cache.rows() if row.key in rows}
    stored = [one for one in cache.stored_receipts() if one.receipt.request_id in requests]
    prices = plan.prices
    units = sum(prices.units_for(key.modality) for key in held)
    purchase = Purchase(
        run=settled.run,
        model=plan.model.id,
        fingerprint=plan.model.fingerprint,
        units=units,
        cost_micro_usd=prices.cost(units),
        bought_now=bought.units,
        already_paid=plan.already_paid,
        left_out=bought.left_out,
        micro_usd_per_unit=prices.micro_usd_per_unit,
        receipts_digest=receipts_digest(one.receipt for one in stored),
        vendor_milliseconds=bulk_milliseconds(stored),
    )
    return purchase, Paid(table=table, rows=rows)
