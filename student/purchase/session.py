"""Plans and purchases with one vendor, one cache and one budget."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cache.integrity.second_copy import second_copy_faults
from cache.paid_cache import PaidCache
from cache.records.embedding_key import EmbeddingKey
from cache.records.money import dollars
from cache.records.purchase_records import Intent
from student.console import Terminal
from student.data.demo.lay_out import is_demo_data
from student.data.folder.names import by_reason
from student.errors import BudgetLimit, PurchaseError, VendorUnreachable
from student.options import PurchaseOptions, TrainingOptions
from student.options.folders import require_room
from student.purchase.canary import canary_units
from student.purchase.embedding_buyer import choose_model
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.journal import Payer, PurchaseJournal
from student.purchase.plan import Plan, make_plan
from student.purchase.progress import Listener, Progress, PurchaseSummary, silent
from student.purchase.recorder import PurchaseRecorder
from student.purchase.run_record import RunLabel, buy_and_record, named_in
from student.purchase.shard_plan import shard_plan
from student.purchase.shared_purchase import SharedPurchase, shared_purchase
from student.purchase.sold_network import sold_network
from student.training.methods import Method
from student.training.student_factory import check_space, foreign_network, foreign_weights
from student.vendor.request import belongs_to, is_unknown_to_vendor
from student.vendor.schemas import Account, Model, Prices
from student.wires.protocol import Vendor

_RECORD_BYTES = 256
_UNKNOWN_DIM = 2048  # more than most models behind a wire give
KNOWS_EMOJI_ONLY = "the vendor sells its embedded model, which is small and knows only emoji"
START_A_VENDOR = (
    "If no vendor runs there, name another with --vendor or TEACHER_URL, or start one: `docker "
    "compose up`, or `teacher-server serve`."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PurchaseSession:
    """Plans and buys for the students of one run or bench; made by `open_session`.

    `payable` is the sum, in queries, of what the cache has on record and what the account at the
    vendor can still pay; `shared` is the budget that this cache shares with others, if it does.
    """

    options: PurchaseOptions
    students: Sequence[tuple[Method, TrainingOptions]]
    cache: PaidCache
    vendor: Vendor
    model: Model
    prices: Prices
    account: Account
    terminal: Terminal
    run: RunLabel
    payable: int
    shared: SharedPurchase | None = None
    _parts: list[PurchaseSummary] = field(default_factory=list)
    _counted: set[EmbeddingKey] = field(default_factory=set)

    @property
    def parts(self) -> Sequence[PurchaseSummary]:
        """The summaries so far, purchase by purchase."""
        return self._parts

    def plan(self, requests: Sequence[EmbeddingRequest]) -> Plan:
        """The plan for these requests, within the budget, if any, and what the account can pay."""
        part = self.options.part
        if part is None:
            return self._plan(requests)
        return shard_plan(requests, part, whole=partial(self._plan, of_all=True), own=self._plan)

    def _plan(self, requests: Sequence[EmbeddingRequest], *, of_all: bool = False) -> Plan:
        """The plan of this worker or, with `of_all`, of all that share the budget."""
        is_continued = bool(self._parts) or "." in self.run.name
        budget, limited_by = self._limit(of_all=of_all)
        return make_plan(
            requests,
            cache=self.cache,
            model=self.model,
            prices=self.prices,
            budget=budget,
            limited_by=limited_by,
            canary_units=0 if is_continued else canary_units(self.vendor, self.prices),
        )

    def _limit(self, *, of_all: bool) -> tuple[int, BudgetLimit]:
        """The most queries that this cache may come to have paid for, and whose budget that is.

        With `of_all`, all of a shared budget counts as its own: every worker finds the same.
        """
        limits: list[tuple[int, BudgetLimit]] = []
        if self.options.budget is not None:
            limits.append((self.options.budget, "client budget"))
        if self.shared is not None:
            spent = self.cache.spend_on_record().committed_units
            most = self.shared.total() if of_all else spent + self.shared.payable()
            limits.append((most, "shared budget"))
        # The account limits the plan too, so that texts come first even where it is the limit.
        limits.append((self.payable, "vendor budget"))
        return min(limits, key=lambda limit: limit[0])

    def show(self, plan: Plan, heading: str, *, data: Path) -> None:
        """Print a plan for the images in `data`, with warnings to consider before paying."""
        terminal = self.terminal
        terminal.heading(heading)
        if self.vendor.proxy:
            terminal.say(f"through the proxy {self.vendor.proxy}")
        terminal.table(("plan", ""), [list(row) for row in plan.describe()])
        if self.options.part is not None:
            terminal.say(
                f"shard {self.options.part}: this plan has the images and texts of one of "
                f"{self.options.part.count} workers, by their SHA-256; nothing is trained"
            )
        if self.shared is not None:
            terminal.say(self.shared.describe())
        for line in by_reason((str(request.name), request.unfit) for request in plan.unfit):
            terminal.warn(f"not sent, because the vendor would refuse {line}")
        if self.model.embedded and not is_demo_data(data) and plan.to_buy:
            terminal.warn(
                f"{KNOWS_EMOJI_ONLY}, and these are not the demo images: configure the vendor with "
                "a real CLIP model"
            )
        if plan.model_change is not None:
            terminal.warn(plan.model_change.describe(self.model))
        foreign = {
            foreign_weights(training, self.model.weights_sha256) for _, training in self.students
        }
        network = sold_network(self.model)
        foreign |= {foreign_network(one.backbone, network) for _, one in self.students}
        for warning in sorted(foreign - {""}):
            terminal.warn(warning)

    def require_room(self, plan: Plan, out: Path) -> None:
        """Raises BadInput where a disk cannot hold the embeddings of this plan."""
        row = 4 * (self.model.dim or _UNKNOWN_DIM)
        # A row also has its receipt, and a database writes what it stores twice.
        require_room(self.options.cache, 2 * (row + _RECORD_BYTES) * len(plan.to_buy), "--cache")
        require_room(out, row * len(plan.ordered), "--out")

    def require_obtainable(self, requests: Iterable[EmbeddingRequest]) -> None:
        """Raises PurchaseError if an open purchase of another account asks for one of these.

        Only that account can settle it, so this run would pay for the rest and never be able to
        train.
        """
        waiting = {request.key for request in requests}
        account = self.vendor.ledger_name(self.account)
        for intent in self.cache.open_intents():
            # The earliest purchase gets an item; a later purchase of the same item withdraws.
            held = waiting.intersection(intent.keys)
            waiting -= held
            is_in_doubt = is_unknown_to_vendor(intent) and not self.cache.is_running(intent.run)
            if held and not is_in_doubt and not belongs_to(account, intent):
                raise PurchaseError(self._obstacle(intent, len(held)))

    def _obstacle(self, intent: Intent, count: int) -> str:
        name = intent.idempotency_key
        folder = shlex.quote(str(self.options.cache))
        remedy = (
            "that run is still running: wait until it ends"
            if self.cache.is_running(intent.run)
            else f"run again with the key that made it, which settles it, or write it off with "
            f"`cache-report --cache {folder} write-off {name}`"
        )
        return (
            f"{count} embeddings that the run needs are part of the open purchase {name} of run "
            f"{intent.run}, made with another API key than {self.account.id} (or by another "
            f"program). Only with that key can the vendor say whether its {intent.units} queries "
            f"were charged. Nothing was bought; {remedy}"
        )

    async def buy(self, plan: Plan, *, watch: Listener = silent) -> PurchaseSummary:
        """Buy a plan. Several plans are the rounds of one run, each recorded under its own name.

        `watch` is told the progress, as the bar is.
        """
        name = f"{self.run.name}.{len(self._parts) + 1}" if self._parts else self.run.name
        account = self.vendor.ledger_name(self.account)
        planned = plan.units + plan.canary_units
        lease = nullcontext() if self.shared is None else self.shared.leased(name, planned=planned)
        with lease as leased, _purchase_bar(self.terminal) as show:
            payer = Payer(
                run=name,
                account=account,
                budget=plan.budget,
                is_known_to_vendor=self.vendor.knows_purchases,
                lease=leased,
            )
            journal = PurchaseJournal(plan, cache=self.cache, payer=payer)

            def listener(progress: Progress) -> None:
                show(progress)
                watch(progress)

            summary = await buy_and_record(
                PurchaseRecorder(journal, listener=listener),
                self.vendor,
                command=self.run.command,
                batch_size=self.options.batch_size,
                concurrency=self.options.concurrency,
                counted=self._counted,
            )
        self._parts.append(summary)
        self._counted.update(request.key for request in plan.ordered)
        return summary


async def ask_for_model(
    vendor: Vendor,
    options: PurchaseOptions,
    students: Sequence[tuple[Method, TrainingOptions]],
    terminal: Terminal,
) -> Model:
    """The vendor's model that these options ask for.

    Raises BadInput where the vendor has no such model or a student cannot learn from it, and
    VendorError; where nobody answers, it says how a vendor is started.
    """
    is_ready = await vendor.ready()
    if not is_ready and not vendor.knows_purchases:
        detail = f"No server answers at {vendor.url}: name the vendor's address with --vendor."
        raise VendorUnreachable(detail, charged=False)
    if not is_ready:
        terminal.say(
            f"the vendor at {vendor.url} is not ready; asking again for at most "
            f"{vendor.patience_seconds:.0f} s"
        )
        terminal.say(START_A_VENDOR)
    try:
        models = await vendor.models()
    except VendorUnreachable as error:
        detail = f"{error.detail} {START_A_VENDOR}"
        raise VendorUnreachable(detail, charged=error.charged) from error
    model = choose_model(models, options.teacher)
    for method, training in students:
        check_space(method, training.backbone, model.dim)
    return model


async def open_session(
    vendor: Vendor,
    options: PurchaseOptions,
    students: Sequence[tuple[Method, TrainingOptions]],
    cache: PaidCache,
    terminal: Terminal,
    run: RunLabel,
) -> PurchaseSession:
    """Ask the vendor for its models, its prices and the account, and open a session.

    Raises as `ask_for_model` does.
    """
    model = named_in(cache, await ask_for_model(vendor, options, students, terminal))
    for fault in second_copy_faults(cache):
        terminal.warn(fault)
    prices = await vendor.prices()
    account = await vendor.account()
    return PurchaseSession(
        options=options,
        students=students,
        cache=cache,
        vendor=vendor,
        model=model,
        prices=prices,
        account=account,
        terminal=terminal,
        run=run,
        payable=cache.spend_on_record().committed_units + account.remaining_units,
        shared=shared_purchase(options, cache, terminal),
    )


@contextmanager
def _purchase_bar(terminal: Terminal) -> Iterator[Listener]:
    """A bar that follows a purchase: bought, cached, spent and time left."""
    with terminal.bar("buying") as update:

        def listen(now: Progress) -> None:
            got = now.bought + now.recovered
            note = (
                f"{got:,} bought, {now.cached:,} cached, {now.units:,} queries "
                f"({dollars(now.cost_micro_usd)}), {now.in_flight} in flight"
            )
            update(got + now.refused, now.planned, note)

        yield listen
