"""The purchase of a job: plan, then buy, all at once or in rounds where the selector wants that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.paid_cache import PaidCache
from student.acquisition.candidates import AcquisitionRounds
from student.acquisition.strategies import SELECTORS, order, selector
from student.config import JobSettings
from student.console import Terminal
from student.data.image_set import ImageSet
from student.purchase.plan import Plan
from student.purchase.progress import PurchaseSummary
from student.purchase.requirements import EmbeddingRequirements, candidates_for
from student.purchase.session import PurchaseSession, open_session
from student.run_methods import learns_from_images, methods_of, training_settings
from student.training.methods import METHODS
from student.vendor.client import VendorClient


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PurchaseResult:
    """A purchase that is over. `plan` is of all that was wanted."""

    plan: Plan
    bought: PurchaseSummary
    run: str


async def run_purchase(
    vendor: VendorClient,
    settings: JobSettings,
    scanned: ImageSet,
    cache: PaidCache,
    terminal: Terminal,
    command: str,
) -> PurchaseResult | None:
    """Plans and buys; None after a dry run. Raises StudentError and CacheError."""
    training = training_settings(settings)
    students = [(METHODS[name], training) for name in methods_of(settings)]
    till = await open_session(vendor, settings, students, cache, terminal, command=command)
    shopping = EmbeddingRequirements(settings, scanned, till.model)
    plan, rounds = _planned(settings, scanned, shopping, till, terminal)
    till.show(plan, f"purchase from {vendor.url}")
    if plan.wall == "vendor budget" and plan.left_out:
        terminal.warn(
            f"the account at the vendor has {till.account.remaining_units:,} queries left; "
            "buying stops there"
        )
    if settings.dry_run:
        terminal.say("dry run: nothing was bought")
        return None
    plan.require_texts()
    till.require_obtainable(one for one in plan.in_flight if one.key.modality == "text")
    if rounds is None:
        bought = await till.buy(plan)
    else:
        bought = await _buy_in_rounds(rounds, till, plan, shopping)
    _report(plan, bought, terminal)
    return PurchaseResult(plan=plan, bought=bought, run=till.run)


def _planned(
    settings: JobSettings,
    scanned: ImageSet,
    shopping: EmbeddingRequirements,
    till: PurchaseSession,
    terminal: Terminal,
) -> tuple[Plan, AcquisitionRounds | None]:
    """The plan, in the selector's order; and the rounds, where that order depends on what comes.

    Such a plan says what will be spent, not yet on what. Where the budget reaches everything, there
    is nothing to choose, and no image is looked at. Where nothing that is to be trained would read
    an image's embedding, the plan has the prompts alone.
    """
    if not learns_from_images(settings):
        names = ", ".join(methods_of(settings))
        terminal.say(f"{names}: no image embedding would be read, so none is bought")
        return till.plan(shopping.wanted([])), None
    chosen = selector(settings.selector)
    at_random = SELECTORS["random"]
    candidates = candidates_for(at_random, scanned, settings, terminal)
    plan = till.plan(shopping.wanted(order("random", candidates, seed=settings.seed)))
    if chosen is at_random or not plan.left_out:
        return plan, None
    candidates = candidates_for(chosen, scanned, settings, terminal)
    if chosen.in_rounds is not None:
        return plan, chosen.in_rounds(candidates, seed=settings.seed)
    # No image costs less than one unit: what comes later in the order cannot be bought.
    ranked = order(chosen.name, candidates, seed=settings.seed, length=plan.budget)
    return till.plan(shopping.wanted(ranked)), None


async def _buy_in_rounds(
    rounds: AcquisitionRounds, till: PurchaseSession, whole: Plan, shopping: EmbeddingRequirements
) -> PurchaseSummary:
    """Chooses, buys, and chooses by what came, until the budget is spent or nothing is left.

    What a round chooses depends on the seed and on the answers to the rounds before it alone: the
    same command, run again, chooses the same and finds it paid for.
    """
    rows = list(next(rounds))
    while True:
        plan = till.plan(shopping.wanted(rows))
        # The first purchase also ends what a killed run left open.
        if plan.pending or not till.parts:
            till.terminal.say(
                f"{len(rows):,} images chosen so far, {plan.units:,} queries to buy now"
            )
            bought = await till.buy(plan)
            if bought.left_out or not shopping.has_texts(till.cache):
                break
        try:
            rows += rounds.send(shopping.answers(rows, till.cache))
        except StopIteration:
            break
    return _together(till.parts, whole, till.cache)


def _together(parts: Sequence[PurchaseSummary], whole: Plan, cache: PaidCache) -> PurchaseSummary:
    """The purchases of a job as one: what the whole plan wanted, and what became of it."""
    unpaid = cache.missing([one.key for one in whole.ordered])
    return replace(
        parts[-1],
        bought=sum(part.bought for part in parts),
        recovered=sum(part.recovered for part in parts),
        cached=whole.already_paid,
        refused=tuple(refused for part in parts for refused in part.refused),
        left_out=len(set(unpaid) - cache.refused(unpaid).keys()),
        units=sum(part.units for part in parts),
        cost_micro_usd=sum(part.cost_micro_usd for part in parts),
        requests=sum(part.requests for part in parts),
        retries=sum(part.retries for part in parts),
        restored=sum(part.restored for part in parts),
        lost=sum(part.lost for part in parts),
    )


def _report(plan: Plan, bought: PurchaseSummary, terminal: Terminal) -> None:
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
