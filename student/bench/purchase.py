"""Buys all embeddings that the missing runs of a grid read, each once."""

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
from student.data.folder.image_folder import Item
from student.embeddings.lookup import TeacherEmbeddings
from student.errors import PlanExceedsBudget, PurchaseError
from student.evaluation.file_names import named
from student.options import Options
from student.purchase.embedding_requests import EmbeddingRequest, image_requests, text_requests
from student.purchase.plan import Plan
from student.purchase.run_record import RunLabel, new_run_name
from student.purchase.session import ask_for_model, open_session
from student.purchase.sold_network import sold_network
from student.purchase.text_lengths import require_whole_texts
from student.vendor.schemas import Model, Prices
from student.wires.protocol import Vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorEndpoint:
    """How to connect to the vendor of a teacher, and the model's id (None: the vendor's first)."""

    open: Callable[[], AbstractAsyncContextManager[Vendor]]
    model: str | None = None


class VendorEndpoints(Protocol):
    """Opens the vendor endpoint of a teacher; it may be closed after the purchase."""

    def __call__(self, teacher: str, /) -> AbstractContextManager[VendorEndpoint]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoughtEmbeddings:
    """The bought embeddings of a teacher, its price list and its fingerprint."""

    paid: TeacherEmbeddings
    prices: Prices
    fingerprint: str


def buy_for(
    runs: Sequence[Run],
    selection: Selection,
    *,
    endpoints: VendorEndpoints,
    check: Callable[[str, str], None],
    command: str,
) -> dict[str, BoughtEmbeddings]:
    """Buys the embeddings that these runs read, and returns them by teacher.

    Embeddings in the cache are not bought again. Buys everything or nothing, because an incomplete
    grid cannot be compared. A dry run returns an empty dict. If the grid has no budget, the account
    at the vendor is the limit. `check` is called with each teacher and the fingerprint
    that the vendor sells under its name, and may raise. Raises PlanExceedsBudget before anything is
    sent, other StudentErrors, and CacheError.
    """
    by_teacher: dict[str, list[Run]] = {}
    for run in runs:
        if run.teacher != NO_TEACHER:
            by_teacher.setdefault(run.teacher, []).append(run)
    bought: dict[str, BoughtEmbeddings] = {}
    with PaidCache.open(selection.base.purchase.cache) as cache:
        for teacher, teacher_runs in by_teacher.items():
            with endpoints(teacher) as endpoint:
                purchase = _BenchPurchase(selection, cache, check, command)
                embeddings = asyncio.run(purchase.purchase(endpoint, teacher_runs, teacher))
                if embeddings is not None:
                    bought[teacher] = embeddings
    return bought


def ask_vendors(
    runs: Sequence[Run], base: Options, endpoints: VendorEndpoints, terminal: Terminal
) -> None:
    """Refuses vendors that are not there or have no such model, before any image is rendered.

    Raises BadInput and VendorError.
    """

    async def ask(endpoint: VendorEndpoint) -> None:
        async with endpoint.open() as vendor:
            await ask_for_model(vendor, base.purchase.changed(teacher=endpoint.model), [], terminal)

    for teacher in dict.fromkeys(run.teacher for run in runs if run.teacher != NO_TEACHER):
        with endpoints(teacher) as endpoint:
            asyncio.run(ask(endpoint))


class _BenchPurchase:
    def __init__(
        self,
        selection: Selection,
        cache: PaidCache,
        check: Callable[[str, str], None],
        command: str,
    ) -> None:
        self._selection = selection
        self._base = selection.base
        self._dataset = selection.dataset
        self._cache = cache
        self._check = check
        self._command = command

    async def purchase(
        self, endpoint: VendorEndpoint, runs: Sequence[Run], teacher: str
    ) -> BoughtEmbeddings | None:
        """Buys all embeddings of one teacher that these runs read; returns None after a dry run."""
        base = self._base
        async with endpoint.open() as vendor:
            session = await open_session(
                vendor,
                base.purchase.changed(teacher=endpoint.model),
                [(known_method(r.method), resolved(r, base)) for r in runs if r.is_student],
                self._cache,
                self._selection.terminal,
                RunLabel(name=new_run_name("bench"), command=self._command),
            )
            fingerprint = session.model.fingerprint
            self._check(teacher, fingerprint)
            plan = session.plan(self._wanted(runs, session.model))
            heading = f"purchase from the teacher {teacher}, {vendor.url}"
            session.show(plan, heading, data=base.data.data)
            await require_whole_texts(vendor, plan)
            session.require_room(plan, base.run.out)
            if plan.left_out:
                needed = plan.units_of((*plan.to_buy, *plan.left_out))
                raise PlanExceedsBudget(
                    needed=needed, remaining=plan.remaining, limited_by=plan.limited_by
                )
            if base.run.dry_run:
                return None
            session.require_obtainable(plan.in_open_purchases)
            await session.buy(plan)
        paid = self._on_hand(plan, teacher)
        return BoughtEmbeddings(paid=paid, prices=session.prices, fingerprint=fingerprint)

    def _wanted(self, runs: Sequence[Run], model: Model) -> list[EmbeddingRequest]:
        """Returns the prompts and views that these runs read, without duplicates."""
        fingerprint = model.fingerprint
        keys: dict[EmbeddingKey, None] = {}
        prompts: dict[str, None] = {}
        for run in runs:
            keys_of_run = run_keys(run, self._base, self._dataset, fingerprint)
            prompts |= dict.fromkeys(keys_of_run.distinct_prompts)
            read = keys_read(run, self._base, self._dataset, self._images_to_buy(run), fingerprint)
            keys |= dict.fromkeys(read)
        on_sale = [
            *text_requests(fingerprint, list(prompts)),
            *self._all_image_requests(model),
        ]
        request_of = {request.key: request for request in on_sale}
        return [request_of[key] for key in keys]

    def _images_to_buy(self, run: Run) -> list[Item]:
        if in_rounds(run):  # its choice depends on the answers, so any image may be needed
            return list(self._dataset.split_of(run).train)
        return self._selection.chosen(run, None)

    def _all_image_requests(self, model: Model) -> list[EmbeddingRequest]:
        scanned = self._dataset.scanned
        tables = ((scanned.measured, scanned.clean), (scanned.training, scanned.stored))
        return [
            request
            for items, pixels in tables
            for request in image_requests(
                model.fingerprint, items, pixels, range(len(items)), model.limits
            )
        ]

    def _on_hand(self, plan: Plan, teacher: str) -> TeacherEmbeddings:
        keys = [request.key for request in plan.ordered]
        missing = set(self._cache.missing(keys))
        unfit = {request.key for request in plan.unfit}
        unpaid = missing - self._cache.refused(keys).keys() - unfit
        if unpaid or any(key.modality == "text" for key in missing):
            message = (
                f"{len(missing)} of {len(keys)} embeddings could not be bought; what was bought is "
                "stored: run again"
            )
            raise PurchaseError(message)
        held = [key for key in keys if key not in missing]
        folder = named(self._base.run.out / "embeddings", teacher)
        table = materialise(self._cache, held, folder)
        rows = {key: row for row, key in enumerate(held)}
        return TeacherEmbeddings(table=table, rows=rows, sold=sold_network(plan.model))


def keys_of(
    run: Run,
    base: Options,
    dataset: BenchDataset,
    items: Sequence[Item],
    bought: BoughtEmbeddings | None,
) -> list[EmbeddingKey]:
    """Returns the keys of the embeddings that a run reads if it buys these images."""
    if bought is None:
        return []
    keys = keys_read(run, base, dataset, items, bought.fingerprint)
    return [key for key in keys if key in bought.paid.rows]  # the vendor may have refused some
