"""The plan: what would be bought and what it would cost, before any money is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cache.records.embedding_key import EmbeddingKey
from cache.records.money import dollars
from cache.storage.reader import CacheReader
from student.errors import BudgetLimit, PlanExceedsBudget
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.model_change import ModelChange, find_model_change
from student.vendor.schemas import Model, Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a purchase would buy, spend and leave out. Making a plan costs nothing.

    `ordered` are the distinct requests in buying order, texts first: `to_buy` are those that the
    budget covers, `left_out` those that it does not, `unfit` those that this vendor would refuse,
    and `in_open_purchases` those that an earlier run sent, or was about to send, before it was
    killed. Their units are reserved, and they are settled first. `remaining` is the budget less
    receipts and open purchases, in units, before this plan; `limited_by` is whose budget that is.
    `model_change` says what is needed anew because the vendor sells another model under the same id
    now.
    """

    model: Model
    prices: Prices
    budget: int
    limited_by: BudgetLimit
    images_asked: int
    texts_asked: int
    ordered: tuple[EmbeddingRequest, ...]
    already_paid: int
    paid_units: int
    refused_before: int
    in_open_purchases: tuple[EmbeddingRequest, ...]
    to_buy: tuple[EmbeddingRequest, ...]
    left_out: tuple[EmbeddingRequest, ...]
    units: int
    remaining: int
    unfit: tuple[EmbeddingRequest, ...] = ()
    model_change: ModelChange | None = None

    @property
    def cost_micro_usd(self) -> int:
        """The price of what is to be bought, in micro-USD."""
        return self.prices.cost(self.units)

    @property
    def saved_micro_usd(self) -> int:
        """What the embeddings that are already paid for would cost today, in micro-USD."""
        return self.prices.cost(self.paid_units)

    @property
    def pending(self) -> tuple[EmbeddingRequest, ...]:
        """The requests that are neither paid nor refused, in buying order."""
        known = {request.key for request in (*self.in_open_purchases, *self.to_buy, *self.left_out)}
        return tuple(request for request in self.ordered if request.key in known)

    def units_of(self, requests: Sequence[EmbeddingRequest]) -> int:
        """What these requests cost together, in units (queries)."""
        return sum(self.prices.units_for(request.key.modality) for request in requests)

    def require_texts(self) -> None:
        """Raises PlanExceedsBudget if a text is left out: nothing can be trained without them."""
        if any(request.key.modality == "text" for request in self.left_out):
            raise PlanExceedsBudget(
                needed=sum(
                    self.prices.units_for("text")
                    for request in (*self.to_buy, *self.left_out)
                    if request.key.modality == "text"
                ),
                remaining=self.remaining,
                limited_by=self.limited_by,
            )

    def describe(self) -> list[tuple[str, str]]:
        """The plan as rows of a label and a figure."""
        texts = sum(request.key.modality == "text" for request in self.to_buy)
        asked = self.images_asked + self.texts_asked
        return [
            ("model", f"{self.model.id} ({self.model.fingerprint[:19]}, {self.model.dim}-d)"),
            ("images asked", f"{self.images_asked:,}"),
            ("texts asked", f"{self.texts_asked:,}"),
            ("distinct", f"{len(self.ordered):,} ({asked - len(self.ordered):,} repeats are free)"),
            ("already paid", f"{self.already_paid:,} (saves {dollars(self.saved_micro_usd)})"),
            ("refused before", f"{self.refused_before:,}"),
            *([("unfit for this vendor", f"{len(self.unfit):,}")] if self.unfit else []),
            ("in open purchases of earlier runs", f"{len(self.in_open_purchases):,}"),
            ("to buy", f"{texts:,} texts, {len(self.to_buy) - texts:,} images"),
            (
                "longest text",
                f"{self.model.context_length:,} tokens; a longer one is refused, not charged",
            ),
            ("queries", f"{self.units:,}"),
            (
                "cost",
                f"{dollars(self.cost_micro_usd)} ({self.prices.micro_usd_per_unit:,} micro-USD "
                f"a query, price list {self.prices.version})",
            ),
            (
                "budget left",
                f"{self.remaining:,} of {self.budget:,} now, "
                f"{self.remaining - self.units:,} afterwards",
            ),
            ("left out by the budget", f"{len(self.left_out):,}"),
        ]


def make_plan(
    requests: Sequence[EmbeddingRequest],
    *,
    cache: CacheReader,
    model: Model,
    prices: Prices,
    budget: int,
    limited_by: BudgetLimit = "client budget",
) -> Plan:
    """The plan for these requests, given best first, under a budget in units.

    `limited_by` says whose budget that is. Texts come before images: they are few, and nothing can
    be trained without them. What is bought is a prefix of that order, so that a larger budget buys
    a superset. Only reads the cache. Raises ValueError for a request to another model.
    """
    distinct: dict[EmbeddingKey, EmbeddingRequest] = {}
    for request in requests:
        if request.key.model_fingerprint != model.fingerprint:
            name = request.name or request.key.item[:12]
            detail = f"{name} is requested from another model than {model.id}"
            raise ValueError(detail)
        distinct.setdefault(request.key, request)
    # Sorting is stable: the ranking stands within each modality.
    ordered = tuple(sorted(distinct.values(), key=lambda request: request.key.modality != "text"))
    keys = [request.key for request in ordered]
    missing = set(cache.missing(keys))
    refused = cache.refused(missing).keys()
    asked_before = {key for intent in cache.open_intents() for key in intent.keys}
    waiting = (asked_before & missing) - refused
    remaining = max(0, budget - cache.spend_on_record().committed_units)

    to_buy: list[EmbeddingRequest] = []
    left_out: list[EmbeddingRequest] = []
    unfit: list[EmbeddingRequest] = []
    units = 0
    for request in ordered:
        if request.key not in missing or request.key in refused or request.key in waiting:
            continue
        if request.unfit:
            unfit.append(request)
            continue
        price = prices.units_for(request.key.modality)
        if left_out or units + price > remaining:
            left_out.append(request)
        else:
            to_buy.append(request)
            units += price
    images_asked = sum(request.key.modality == "image" for request in requests)
    return Plan(
        model=model,
        prices=prices,
        budget=budget,
        limited_by=limited_by,
        images_asked=images_asked,
        texts_asked=len(requests) - images_asked,
        ordered=ordered,
        already_paid=len(ordered) - len(missing),
        paid_units=sum(prices.units_for(key.modality) for key in keys if key not in missing),
        refused_before=len(refused),
        in_open_purchases=tuple(request for request in ordered if request.key in waiting),
        to_buy=tuple(to_buy),
        left_out=tuple(left_out),
        units=units,
        remaining=remaining,
        unfit=tuple(unfit),
        model_change=find_model_change(
            cache, [one.key for one in (*to_buy, *left_out)], model, prices
        ),
    )
