"""The whole job: scan, plan, buy, train, report. The network ends where training begins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pydantic import SecretStr

from cache.embedding_table import materialise
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.reports.markdown import markdown_report
from student.acquisition.strategies import selector
from student.config import JobSettings, api_key
from student.console import Terminal
from student.data.image_set import ImageSet, load_image_set
from student.embeddings.keys import split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import BadInput, PurchaseError
from student.evaluation.parallel import run_experiment
from student.evaluation.results import Experiment, Purchase
from student.purchase.cost import PurchaseCost, purchase_cost
from student.purchase.progress import PurchaseSummary
from student.purchase.rounds import PurchaseResult, run_purchase
from student.report.break_even import bulk_milliseconds
from student.report.writer import write_artefacts
from student.run_methods import methods_of, training_settings
from student.training.methods import METHODS
from student.training.student_factory import check_networks
from student.vendor.client import connect


def run_job(settings: JobSettings, terminal: Terminal, *, command: str) -> None:
    """Does everything that `distill-client` without a subcommand promises.

    Ctrl-C or a kill at any point loses nothing: the same command goes on from the cache and the
    checkpoints, and pays for nothing twice. Raises StudentError and CacheError.
    """
    key = _check(settings)
    scanned = load_image_set(settings, terminal)
    with PaidCache.open(settings.cache) as cache:
        settled = asyncio.run(_purchase(settings, scanned, cache, key, terminal, command))
        if settled is None:
            return
        terminal.heading("distillation")
        whole, paid = _take_stock(settings, settled, cache)
        experiments: list[Experiment] = []
        own: list[Purchase] = []
        for split in scanned.splits:
            if split.targets:
                terminal.say(f"held out: {', '.join(split.targets)}")
            experiments.append(run_experiment(split, scanned, paid, settings, terminal))
            keys = split_keys(split, scanned.catalogue, settings, whole.fingerprint)
            read = paid.rows.keys() & keys.keys(split.train)
            own.append(_paid_by(purchase_cost(cache, read, settled.plan.prices), whole))
        write_artefacts(
            settings.out,
            settings=settings,
            scanned=scanned,
            experiments=experiments,
            own=own,
            purchase=whole,
            spend=markdown_report(cache),
            terminal=terminal,
        )


def _check(settings: JobSettings) -> SecretStr:
    """Refuses what cannot end well before anything is read, sent or paid."""
    if unknown := [name for name in methods_of(settings) if name not in METHODS]:
        message = f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}"
        raise BadInput(message)
    selector(settings.selector)  # refuses an unknown name
    if settings.budget is None and not settings.dry_run:
        message = "no budget: name the most queries to pay for with --budget (see --dry-run first)"
        raise BadInput(message)
    key = api_key(settings)
    trained = training_settings(settings)
    check_networks((METHODS[name], trained) for name in methods_of(settings))
    return key


async def _purchase(
    settings: JobSettings,
    scanned: ImageSet,
    cache: PaidCache,
    key: SecretStr,
    terminal: Terminal,
    command: str,
) -> PurchaseResult | None:
    async with connect(settings.vendor, key, connections=settings.concurrency) as vendor:
        return await run_purchase(vendor, settings, scanned, cache, terminal, command)


def _take_stock(
    settings: JobSettings, settled: PurchaseResult, cache: PaidCache
) -> tuple[Purchase, TeacherEmbeddings]:
    """What is on hand now, and the receipts that paid for it."""
    plan, bought = settled.plan, settled.summary
    keys: list[EmbeddingKey] = [one.key for one in plan.ordered]
    missing = set(cache.missing(keys))
    if texts := [key for key in missing if key.modality == "text"]:
        message = (
            f"{len(texts)} class prompts are not on hand and nothing can be trained without them; "
            f"what was bought is stored: {_way_out(texts, bought, cache)}"
        )
        raise PurchaseError(message)
    held = [key for key in keys if key not in missing]
    rows = {key: row for row, key in enumerate(held)}
    table = materialise(cache, held, settings.out / "embeddings")
    bill = purchase_cost(cache, held, plan.prices)
    purchased = Purchase(
        run=settled.run,
        model=plan.model.id,
        fingerprint=plan.model.fingerprint,
        units=bill.units,
        cost_micro_usd=bill.cost_micro_usd,
        bought_now=bought.units,
        already_paid=plan.already_paid,
        left_out=bought.left_out,
        micro_usd_per_image=plan.prices.cost(plan.prices.units.image),
        receipts_digest=bill.digest,
        vendor_milliseconds=bulk_milliseconds(bill.receipts),
    )
    return purchased, TeacherEmbeddings(table=table, rows=rows)


def _way_out(texts: Sequence[EmbeddingKey], bought: PurchaseSummary, cache: PaidCache) -> str:
    """What to do about prompts that are not on hand after this purchase."""
    if refused := cache.refused(texts):
        detail = next(iter(refused.values())).detail
        return f"the vendor refuses {len(refused)} of them ({detail}), name the classes otherwise"
    if bought.stop_reason == "waiting":
        return (
            "open purchases ask for them, which `cache-report summary` lists; run again in ten "
            "minutes, when what a killed run left can be settled"
        )
    if bought.stop_reason == "vendor budget":
        return "run again when the account at the vendor can pay"
    return "the budget is spent, run again with a higher --budget"


def _paid_by(bill: PurchaseCost, whole: Purchase) -> Purchase:
    """The part of a job's purchase that one of its students was made from."""
    return replace(
        whole,
        units=bill.units,
        cost_micro_usd=bill.cost_micro_usd,
        receipts_digest=bill.digest,
    )
