"""The purchase of a run: plan, then buy, at once or in rounds where the selector needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.paid_cache import PaidCache
from student.acquisition.candidates import AcquisitionRounds
from student.acquisition.strategies import SELECTORS, order, selector
from student.console import Terminal
from student.data.folder.names import by_reason
from student.data.image_set import ImageSet
from student.options import Options
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.plan import Plan
from student.purchase.progress import PurchaseSummary, waiting_advice
from student.purchase.requirements import EmbeddingRequirements, candidates_for
from student.purchase.run_record import RunLabel, new_run_name
from student.purchase.session import PurchaseSession, open_session
from student.purchase.teacher_trial import (
    TeacherTrial,
    first_answers,
    handful,
    has_handful,
    say_first_answers,
)
from student.purchase.text_lengths import require_whole_texts
from student.selection.first_answers import HANDFUL, FirstAnswers
from student.training.methods import METHODS, reads_images
from student.wires.protocol import Vendor

_MOST_JUDGED = 4 * HANDFUL
"""Images that are bought at most to have answers to a handful, where a vendor refuses some."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PurchaseResult:
    """A finished purchase: `plan` is what it was for, `run` is its run in the cache.

    `guesses` are the teacher's first answers, if the purchase ended because they are no better than
    chance.
    """

    plan: Plan
    summary: PurchaseSummary
    run: str
    guesses: FirstAnswers | None = None


async def run_purchase(
    vendor: Vendor,
    options: Options,
    scanned: ImageSet,
    cache: PaidCache,
    terminal: Terminal,
    command: str,
    *,
    stops_at_guesses: bool = False,
) -> PurchaseResult | Plan:
    """Plan and buy; the plan alone after a dry run. Raises StudentError and CacheError.

    With `stops_at_guesses` the first images are bought alone, and the others only if the teacher's
    zero-shot answers to these can be told from chance.
    """
    students = [(METHODS[name], options.training) for name in options.training.methods]
    run = RunLabel(name=new_run_name("run"), command=command)
    session = await open_session(vendor, options.purchase, students, cache, terminal, run)
    requirements = EmbeddingRequirements(
        options.data, options.purchase.prompts, scanned, session.model
    )
    plan, rounds, rows = _planned(options, scanned, requirements, session, terminal)
    session.show(plan, f"purchase from {vendor.url}", data=options.data.data)
    measuring = requirements.measuring()
    if measuring:
        terminal.say(_measured_with(plan, measuring))
    if plan.limited_by == "vendor budget" and plan.left_out:
        terminal.warn(
            f"the account at the vendor has {session.account.remaining_units:,} queries left; "
            "buying stops there"
        )
    await require_whole_texts(vendor, plan)
    session.require_room(plan, options.run.out)
    plan.require_texts()
    if options.purchase.part is None:
        plan.require_measuring(measuring)
    session.require_obtainable(
        request for request in plan.in_open_purchases if request.key.modality == "text"
    )
    if options.run.dry_run:
        terminal.say("dry run: nothing was bought")
        return plan
    if rounds is not None:
        summary, guesses = await _buy_in_rounds(
            rounds, session, plan, requirements, stops_at_guesses=stops_at_guesses
        )
    elif stops_at_guesses and rows:
        summary, guesses = await _buy_unless_guessed(session, plan, requirements, rows)
    else:
        trial = TeacherTrial(plan, requirements, rows, cache=cache, terminal=terminal)
        summary, guesses = await session.buy(plan, watch=trial), None
    if guesses is not None:
        summary = replace(summary, stop_reason="teacher guesses")
    _report(plan, summary, terminal)
    return PurchaseResult(plan=plan, summary=summary, run=session.run.name, guesses=guesses)


async def _buy_unless_guessed(
    session: PurchaseSession,
    whole: Plan,
    requirements: EmbeddingRequirements,
    rows: Sequence[int],
) -> tuple[PurchaseSummary, FirstAnswers | None]:
    """Buys the first images, says how the teacher classifies them (zero-shot), and buys the others;
    or returns its answers, where they cannot be told from chance."""
    guesses, goes_on = await _judged(session, requirements, rows)
    if goes_on and guesses is None:
        await session.buy(session.plan(requirements.wanted(rows)) if session.parts else whole)
    elif not session.parts:  # all were paid for before; this run is on record all the same
        await session.buy(session.plan(requirements.wanted(handful(rows))))
    return _together(session.parts, whole, session.cache), guesses


async def _judged(
    session: PurchaseSession, requirements: EmbeddingRequirements, rows: Sequence[int]
) -> tuple[FirstAnswers | None, bool]:
    """Buys images until there are answers to a handful, and says how the teacher classifies them.

    Returns its answers if they cannot be told from chance, and whether the purchase can go on: not
    without every class text, nor where the budget is spent.
    """
    count, goes_on = HANDFUL, True
    while True:
        plan = session.plan(requirements.wanted(rows[:count]))
        if plan.pending:
            summary = await session.buy(plan)
            goes_on = not summary.left_out or summary.stop_reason == "waiting"
        goes_on = goes_on and requirements.has_texts(session.cache)
        found = first_answers(requirements, rows[:count], session.cache)
        missing = HANDFUL - (0 if found is None else found.images)
        if not goes_on or missing <= 0 or count >= min(len(rows), _MOST_JUDGED):
            break
        count += missing  # of the first, the vendor has refused so many
    if found is not None and found.are_guesses:
        return found, False
    if found is not None and session.parts:
        say_first_answers(found, session.terminal)
    return None, goes_on


def _planned(
    options: Options,
    scanned: ImageSet,
    requirements: EmbeddingRequirements,
    session: PurchaseSession,
    terminal: Terminal,
) -> tuple[Plan, AcquisitionRounds | None, Sequence[int]]:
    """The plan in the selector's order, the rounds where that order depends on the answers, and the
    rows of the images in the order of the plan.

    A plan with rounds says how much will be spent, not yet on which images. Where the budget covers
    everything, there is nothing to choose and no features are computed. Where no method reads image
    embeddings, the plan has only the prompts.
    """
    if not reads_images(options.training):
        names = ", ".join(options.training.methods)
        terminal.say(f"{names}: no image embedding would be read, so none is bought")
        return session.plan(requirements.wanted([])), None, []
    chosen = selector(options.purchase.selector)
    at_random = SELECTORS["random"]
    candidates = candidates_for(at_random, scanned, options.training, options.run, terminal)
    rows: Sequence[int] = order("random", candidates, seed=options.run.seed)
    plan = session.plan(requirements.wanted(rows))
    if chosen is at_random or not plan.left_out:
        return plan, None, rows
    candidates = candidates_for(chosen, scanned, options.training, options.run, terminal)
    if chosen.in_rounds is not None:
        return plan, chosen.in_rounds(candidates, seed=options.run.seed), rows
    # No image costs less than one unit: what comes later in the order cannot be bought.
    rows = order(chosen.name, candidates, seed=options.run.seed, length=plan.budget)
    return session.plan(requirements.wanted(rows)), None, rows


async def _buy_in_rounds(
    rounds: AcquisitionRounds,
    session: PurchaseSession,
    whole: Plan,
    requirements: EmbeddingRequirements,
    *,
    stops_at_guesses: bool,
) -> tuple[PurchaseSummary, FirstAnswers | None]:
    """Choose, buy, and choose again by the answers, until the budget is spent or nothing is left;
    or until enough was bought to see that the answers cannot be told from chance.

    What a round chooses depends only on the seed and on the answers to the rounds before it: the
    same command, run again, chooses the same images and finds them paid for.
    """
    rows, is_judged, guesses = list(next(rounds)), not stops_at_guesses, None
    while True:
        if not is_judged and has_handful(rows):
            is_judged = True
            guesses, goes_on = await _judged(session, requirements, rows)
            if not goes_on:
                break
        plan = session.plan(requirements.wanted(rows))
        # The first purchase also settles what a killed run left open.
        if plan.pending or not session.parts:
            session.terminal.say(
                f"{len(rows):,} images chosen so far, {plan.units:,} queries to buy now"
            )
            summary = await session.buy(plan)
            if summary.left_out or not requirements.has_texts(session.cache):
                break
        try:
            rows += rounds.send(requirements.answers(rows, session.cache))
        except StopIteration:
            break
    if not session.parts:
        await session.buy(session.plan(requirements.wanted(handful(rows))))
    if not is_judged:  # by fewer than a handful
        found = first_answers(requirements, rows, session.cache)
        guesses = found if found is not None and found.are_guesses else None
    return _together(session.parts, whole, session.cache), guesses


def _together(parts: Sequence[PurchaseSummary], whole: Plan, cache: PaidCache) -> PurchaseSummary:
    """The purchases of all rounds as one summary, for the whole plan."""
    unfit = {request.key for request in whole.unfit}
    missing = cache.missing([request.key for request in whole.ordered])
    unpaid = [key for key in missing if key not in unfit]
    left_out = len(set(unpaid) - cache.refused(unpaid).keys())
    stopped = parts[-1].stop_reason
    return replace(
        parts[-1],
        stop_reason="class text refused" if left_out and stopped == "complete" else stopped,
        bought=sum(part.bought for part in parts),
        recovered=sum(part.recovered for part in parts),
        cached=whole.already_paid,
        refused=tuple(refused for part in parts for refused in part.refused),
        left_out=left_out,
        units=sum(part.units for part in parts),
        cost_micro_usd=sum(part.cost_micro_usd for part in parts),
        requests=sum(part.requests for part in parts),
        retries=sum(part.retries for part in parts),
        restored=sum(part.restored for part in parts),
        written_off=sum(part.written_off for part in parts),
        in_doubt=sum(part.in_doubt for part in parts),
    )


def _measured_with(plan: Plan, measuring: Sequence[EmbeddingRequest]) -> str:
    keys = {request.key for request in measuring}
    texts = sum(key.modality == "text" for key in keys)
    new = plan.units_of([request for request in plan.to_buy if request.key in keys])
    return (
        f"of these, {len(keys) - texts:,} images and {texts:,} captions measure the student and "
        f"are never trained on: {new:,} of the {plan.units:,} queries, and the first to be bought"
    )


def _report(plan: Plan, summary: PurchaseSummary, terminal: Terminal) -> None:
    terminal.say(
        f"bought {summary.units:,} queries; {plan.already_paid:,} answers were already paid for"
        + (f"; {summary.left_out:,} left out ({summary.stop_reason})" if summary.left_out else "")
    )
    if summary.left_out and summary.stop_reason == "waiting":
        terminal.warn(waiting_advice(summary))
    if summary.restored:
        terminal.say(
            f"{summary.restored:,} paid answers were missing from the cache: restored for free"
        )
    if summary.written_off:
        terminal.warn(
            f"{summary.written_off:,} paid answers cannot be fetched any more, because the vendor "
            "has deleted them; `cache-report` names the purchases"
        )
    if summary.in_doubt:
        terminal.warn(
            f"{summary.in_doubt:,} queries were sent and never answered: they count as spent, "
            "and what was bought again of them may have been paid twice; `cache-report summary` "
            "lists the purchases"
        )
    for line in by_reason(
        (str(refused.request.name), refused.detail) for refused in summary.refused
    ):
        terminal.warn(f"the vendor refused (not charged) {line}")
