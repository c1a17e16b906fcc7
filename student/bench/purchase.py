"""Buys once, through the vendor, all that the missing runs of a grid read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from cache.embedding_table import materialise
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from student.bench.constants import NO_TEACHER
from student.bench.dataset import (
    BenchDataset,
    Selection,
    in_rounds,
    keys_read,
    run_keys,
)
from student.bench.run import Run, known_method, resolved
from student.console import Terminal
from student.data.image_folder import Item
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import PlanExceedsBudget, PurchaseError
from student.options import Options
from student.purchase.embedding_requests import EmbeddingRequest, image_requests, text_requests
from student.purchase.plan import Plan
from student.purchase.session import open_session
from student.vendor.client import VendorClient
from student.vendor.schemas import Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorEndpoint:
    """Where a teacher is sold: how to reach the vendor, and the model's id (None: its first)."""

    open: Callable[[], AbstractAsyncContextManager[VendorClient]]
    model: str | None = None


class VendorEndpoints(Protocol):
    """Opens the endpoint that sells this teacher; it may be closed when the purchase is over."""

    def __call__(self, teacher: str, /) -> AbstractContextManager[VendorEndpoint]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoughtEmbeddings:
    """A teacher's embeddings on hand, and what one of them cost."""

    paid: TeacherEmbeddings
    prices: Prices
    fingerprint: str


def buy_for(
    runs: Sequence[Run],
    base: Options,
    material: BenchDataset,
    selection: Selection,
    *,
    check: Callable[[str, str], None],
    endpoints: VendorEndpoints,
    budget: int | None,
    command: str,
    terminal: Terminal,
) -> dict[str, BoughtEmbeddings]:
    """Buy what these runs read, and return it by teacher; the cache's content is not bought again.

    Buys everything or nothing, because an incomplete grid cannot be compared. A dry run returns
    nothing. Without a budget, the account at the vendor is the limit. `check` gets each teacher
    with the fingerprint that is sold under its name, and may refuse it. Raises PlanExceedsBudget
    before anything is sent, StudentError and CacheError.
    """
    by_teacher: dict[str, list[Run]] = {}
    for run in runs:
        if run.teacher != NO_TEACHER:
            by_teacher.setdefault(run.teacher, []).append(run)
    bought: dict[str, BoughtEmbeddings] = {}
    with PaidCache.open(base.purchase.cache) as cache:
        for teacher, of_one in by_teacher.items():
            with endpoints(teacher) as endpoint:
                purchase = _BenchPurchase(
                    base, material, selection, cache, check, terminal, command
                )
                got = asyncio.run(purchase.purchase(endpoint, of_one, budget, teacher))
                if got is not None:
                    bought[teacher] = got
    return bought


class _BenchPurchase:
    def __init__(
        self,
        base: Options,
        material: BenchDataset,
        selection: Selection,
        cache: PaidCache,
        check: Callable[[str, str], None],
        terminal: Terminal,
        command: str,
    ) -> None:
        self._base = base
        self._material = material
        self._selection = selection
        self._cache = cache
        self._check = check
        self._terminal = terminal
        self._command = command

    async def purchase(
        self, endpoint: VendorEndpoint, runs: Sequence[Run], budget: int | None, teacher: str
    ) -> BoughtEmbeddings | None:
        """Everything that these runs read of one teacher; None after a dry run."""
        base = self._base
        async with endpoint.open() as vendor:
            session = await open_session(
                vendor,
                base.changed(budget=budget, teacher=endpoint.model),
                [(known_method(r.method), resolved(r, base)) for r in runs if r.is_student],
                self._cache,
                self._terminal,
                command=self._command,
                kind="bench",
            )
            fingerprint = session.model.fingerprint
            self._check(teacher, fingerprint)
            plan = session.plan(self._wanted(runs, fingerprint))
            session.show(plan, f"purchase from the teacher {teacher}, {vendor.url}")
            if base.run.dry_run:
                return None
            if plan.left_out:
                needed = plan.units_of((*plan.to_buy, *plan.left_out))
                raise PlanExceedsBudget(
                    needed=needed, remaining=plan.remaining, limited_by=plan.limited_by
                )
            session.require_obtainable(plan.in_open_purchases)
            await session.buy(plan)
        paid = self._on_hand(plan, teacher)
        return BoughtEmbeddings(paid=paid, prices=session.prices, fingerprint=fingerprint)

    def _wanted(self, runs: Sequence[Run], fingerprint: str) -> list[EmbeddingRequest]:
        """The prompts and the views that some run reads, each once."""
        keys: dict[EmbeddingKey, None] = {}
        prompts: dict[str, None] = {}
        for run in runs:
            of_run = run_keys(run, self._base, self._material, fingerprint)
            prompts |= dict.fromkeys(of_run.distinct_prompts)
            read = keys_read(run, self._base, self._material, self._asked(run), fingerprint)
            keys |= dict.fromkeys(read)
        on_sale = [*text_requests(fingerprint, list(prompts)), *self._everything(fingerprint)]
        request_of = {one.key: one for one in on_sale}
        return [request_of[key] for key in keys]

    def _asked(self, run: Run) -> list[Item]:
        if in_rounds(run):  # which images it chooses depends on the answers to any of them
            return list(self._material.split_of(run).train)
        return self._selection.chosen(run, None)

    def _everything(self, fingerprint: str) -> list[EmbeddingRequest]:
        scanned = self._material.scanned
        measured = image_requests(
            fingerprint, scanned.measured, scanned.clean, range(len(scanned.measured))
        )
        training = image_requests(
            fingerprint, scanned.training, scanned.stored, range(len(scanned.training))
        )
        return [*measured, *training]

    def _on_hand(self, plan: Plan, teacher: str) -> TeacherEmbeddings:
        keys = [one.key for one in plan.ordered]
        missing = set(self._cache.missing(keys))
        unpaid = missing - self._cache.refused(keys).keys()
        if unpaid or any(key.modality == "text" for key in missing):
            message = (
                f"{len(missing)} of {len(keys)} embeddings could not be bought; what was bought is "
                "stored: run again"
            )
            raise PurchaseError(message)
        held = [key for key in keys if key not in missing]
        table = materialise(self._cache, held, self._base.run.out / "embeddings" / teacher)
        return TeacherEmbeddings(table=table, rows={key: row for row, key in enumerate(held)})


def keys_of(
    run: Run,
    base: Options,
    material: BenchDataset,
    items: Sequence[Item],
    bought: BoughtEmbeddings | None,
) -> list[EmbeddingKey]:
    """The embeddings that a run reads, where these images are those that it buys."""
    if bought is None:
        return []
    keys = keys_read(run, base, material, items, bought.fingerprint)
    return [key for key in keys if key in bought.paid.rows]  # the vendor may have refused some
