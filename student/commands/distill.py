"""`distill-client` without a subcommand: scan, plan, buy, train, report.

The network is not used after the purchase.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import replace

from pydantic import SecretStr

from cache.embedding_table import materialise
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.reports.markdown import markdown_report
from student.console import Terminal
from student.data.image_set import ImageSet, load_image_set
from student.embeddings.keys import split_keys
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import BadInput, PurchaseError
from student.evaluation.parallel import run_experiment
from student.evaluation.results import Experiment, Purchase
from student.options import Options
from student.options.purchase import api_key
from student.purchase.cost import PurchaseCost, purchase_cost
from student.purchase.progress import PurchaseSummary
from student.purchase.rounds import PurchaseResult, run_purchase
from student.report.break_even import bulk_milliseconds
from student.report.writer import write_artefacts
from student.training.methods import METHODS
from student.training.student_factory import check_networks
from student.vendor.client import connect


def main(options: Options, arguments: Sequence[str]) -> int:
    """Runs the whole with these options, which `arguments` asked for."""
    from rich.console import Console

    command = shlex.join(["distill-client", *arguments])  # never holds the key
    run_job(options, Terminal(Console()), command=command)
    return 0


def run_job(options: Options, terminal: Terminal, *, command: str) -> None:
    """Buys what the run needs, trains the students and writes the output folder.

    After Ctrl-C or a kill, the same command resumes from the cache and the checkpoints, and pays
    for nothing twice. Raises StudentError and CacheError.
    """
    key = _check(options)
    scanned = load_image_set(options.data, options.run, terminal)
    with PaidCache.open(options.purchase.cache) as cache:
        settled = asyncio.run(_purchase(options, scanned, cache, key, terminal, command))
        if settled is None:
            return
        terminal.heading("distillation")
        whole, paid = _take_stock(options, settled, cache)
        experiments: list[Experiment] = []
        own: list[Purchase] = []
        for split in scanned.splits:
            if split.targets:
                terminal.say(f"held out: {', '.join(split.targets)}")
            experiments.append(run_experiment(split, scanned, paid, options, terminal))
            keys = split_keys(split, scanned.catalogue, options, whole.fingerprint)
            read = paid.rows.keys() & keys.keys(split.train)
            own.append(_paid_by(purchase_cost(cache, read, settled.plan.prices), whole))
        write_artefacts(
            options.run.out,
            options=options,
            scanned=scanned,
            experiments=experiments,
            own=own,
            purchase=whole,
            spend=markdown_report(cache),
            terminal=terminal,
        )


def _check(options: Options) -> SecretStr:
    """Refuses what cannot be trained before anything is read, sent or paid; returns the API key."""
    if options.purchase.budget is None and not options.run.dry_run:
        message = "no budget: set the maximum number of queries with --budget (try --dry-run first)"
        raise BadInput(message)
    key = api_key(options.purchase)
    students = [(METHODS[name], options.training) for name in options.training.methods]
    check_networks(students, image_size=options.data.image_size)
    return key


async def _purchase(
    options: Options,
    scanned: ImageSet,
    cache: PaidCache,
    key: SecretStr,
    terminal: Terminal,
    command: str,
) -> PurchaseResult | None:
    purchase = options.purchase
    async with connect(purchase.vendor, key, connections=purchase.concurrency) as vendor:
        return await run_purchase(vendor, options, scanned, cache, terminal, command)


def _take_stock(
    options: Options, settled: PurchaseResult, cache: PaidCache
) -> tuple[Purchase, TeacherEmbeddings]:
    """What is in the cache now, and the receipts that paid for it."""
    plan, bought = settled.plan, settled.summary
    keys: list[EmbeddingKey] = [one.key for one in plan.ordered]
    missing = set(cache.missing(keys))
    if texts := [key for key in missing if key.modality == "text"]:
        message = (
            f"{len(texts)} class prompts are not in the cache and nothing can be trained without "
            f"them; what was bought is stored: {_way_out(texts, bought, cache)}"
        )
        raise PurchaseError(message)
    held = [key for key in keys if key not in missing]
    rows = {key: row for row, key in enumerate(held)}
    table = materialise(cache, held, options.run.out / "embeddings")
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
    """What to do about prompts that are missing after this purchase."""
    if refused := cache.refused(texts):
        detail = next(iter(refused.values())).detail
        return f"the vendor refuses {len(refused)} of them ({detail}); rename the classes"
    if bought.stop_reason == "waiting":
        return (
            "open purchases, listed by `cache-report summary`, ask for them; run again in ten "
            "minutes, when the purchases of a killed run can be settled"
        )
    if bought.stop_reason == "vendor budget":
        return "run again when the account at the vendor can pay"
    return "the budget is spent; run again with a higher --budget"


def _paid_by(bill: PurchaseCost, whole: Purchase) -> Purchase:
    """The part of a run's purchase that one of its students was made from."""
    return replace(
        whole,
        units=bill.units,
        cost_micro_usd=bill.cost_micro_usd,
        receipts_digest=bill.digest,
    )
