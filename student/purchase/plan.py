"""The plan: what would be bought and what it would cost, before any money is spent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cache.records.embedding_key import EmbeddingKey
from cache.records.money import dollars
from cache.storage.reader import CacheReader
from student.errors import BudgetLimit, PlanExceedsBudget
from student.purchase.embedding_requests import EmbeddingRequest
from student.purchase.model_change import ModelChange, find_model_change
from student.vendor.request import is_unknown_to_vendor
from student.vendor.schemas import Amounts, Model, Prices
from student.wires.client import NO_LIMIT
from student.wires.items import estimated_tokens

# As `student.purchase.canary` makes it: a text of 19 letters and an image of 224 x 224 pixels.
_CANARY = Amounts(images=1, texts=1, tokens=estimated_tokens(19), pixels=224 * 224)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a purchase would buy, spend and leave out. Making a plan costs nothing.

    `ordered` are the distinct requests in buying order, texts first: `to_buy` are those that the
    budget covers, `left_out` those that it does not, `unfit` those that this vendor would refuse,
    and `in_open_purchases` those that an earlier run sent, or was about to send, before it was
    killed. Their units are reserved, and they are settled first. `remaining` is the budget less
    receipts and open purchases, in units, before this plan; `limited_by` is whose budget that is.
    `model_change` says what is needed anew because the vendor sells another model under the same id
    now. `canary_units` are spent before anything of the plan is bought, on two items that show
    whether the vendor's model is still the same; `in_doubt_units` were sent by killed runs to a
    vendor that cannot be asked for them.
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
    paid_amounts: Amounts = field(default_factory=Amounts)
    canary_units: int = 0
    in_doubt_units: int = 0

    @property
    def cost_micro_usd(self) -> int:
        """The price of what is to be bought and of the canary, in micro-USD."""
        canary = self.prices.cost_of(_CANARY) if self.canary_units else 0
        return self.prices.cost_of(_amounts(self.to_buy)) + canary

    @property
    def saved_micro_usd(self) -> int:
        """What the embeddings that are already paid for would cost today, in micro-USD."""
        return self.prices.cost_of(self.paid_amounts)

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

    def require_measuring(self, measuring: Sequence[EmbeddingRequest]) -> None:
        """Raises PlanExceedsBudget unless the budget covers these requests and a training image.

        Without labels nothing is trained without them: weights are chosen by what they measure.
        """
        keys = {request.key for request in measuring}
        left = [request for request in self.left_out if request.key in keys]
        is_trainable = any(
            request.key.modality == "image" and request.key not in keys
            for request in self.ordered
            if request not in self.left_out
        )
        if measuring and (left or not is_trainable):
            raise PlanExceedsBudget(
                needed=self.units_of([r for r in self.to_buy if r.key in keys])
                + self.units_of(left)
                + self.prices.units.image,
                remaining=self.remaining,
                limited_by=self.limited_by,
            )

    def describe(self) -> list[tuple[str, str]]:
        """The plan as rows of a label and a figure."""
        texts = sum(request.key.modality == "text" for request in self.to_buy)
        asked = self.images_asked + self.texts_asked
        size = f"{self.model.dim}-d" if self.model.dim else "size known after the first answer"
        converted = sum(request.is_converted for request in self.to_buy)
        length = (
            f"{self.model.context_length:,} tokens; a longer one is refused, not charged"
            if self.model.context_length
            else "the vendor's own limit, which is not known here"
        )
        spent = self.units + self.canary_units
        is_limited = self.budget < NO_LIMIT
        return [
            ("model", f"{self.model.id} ({self.model.fingerprint[:19]}, {size})"),
            ("images asked", f"{self.images_asked:,}"),
            ("texts asked", f"{self.texts_asked:,}"),
            ("distinct", f"{len(self.ordered):,} ({asked - len(self.ordered):,} repeats are free)"),
            ("already paid", f"{self.already_paid:,} (saves {dollars(self.saved_micro_usd)})"),
            ("refused before", f"{self.refused_before:,}"),
            *([("unfit for this vendor", f"{len(self.unfit):,}")] if self.unfit else []),
            ("in open purchases of earlier runs", f"{len(self.in_open_purchases):,}"),
            *(
                [("in doubt", f"{self.in_doubt_units:,} queries of killed runs, counted as spent")]
                if self.in_doubt_units
                else []
            ),
            ("to buy", f"{texts:,} texts, {len(self.to_buy) - texts:,} images"),
            *([("of these sent as PNG", f"{converted:,}, pixel for pixel")] if converted else []),
            ("longest text", length),
            (
                "queries",
                f"{spent:,}"
                + (f", {self.canary_units} of them for the canary" if spent > self.units else ""),
            ),
            ("cost", f"{dollars(self.cost_micro_usd)} ({self.prices.description})"),
            (
                "budget left",
                f"{self.remaining + self.canary_units:,} of {self.budget:,} now, "
                f"{self.remaining - self.units:,} afterwards"
                if is_limited
                else "no --budget: a purchase needs one",
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
    canary_units: int = 0,
) -> Plan:
    """The plan for these requests, given best first, under a budget in units.

    `limited_by` says whose budget that is. Texts come before images: they are few, and nothing can
    be trained without them. What is bought is a prefix of that order, so that a larger budget buys
    a superset. `canary_units` are set aside if anything is bought. Only reads the cache. Raises
    ValueError for a request to another model.
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
    del distinct  # as large as the keys' part of the plan, of a million images
    keys = [request.key for request in ordered]
    missing = set(cache.missing(keys))
    refused = cache.refused(missing).keys()
    opened = list(cache.open_intents())
    # Nobody can settle these: they stay spent, and what they asked for is bought again.
    doubtful = [
        one for one in opened if is_unknown_to_vendor(one) and not cache.is_running(one.run)
    ]
    asked_before = {key for intent in opened if intent not in doubtful for key in intent.keys}
    waiting = (asked_before & missing) - refused
    if not missing - refused - waiting:
        canary_units = 0
    remaining = max(0, budget - cache.spend_on_record().committed_units - canary_units)

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
        paid_amounts=_amounts(one for one in ordered if one.key not in missing),
        canary_units=canary_units if to_buy else 0,
        in_doubt_units=sum(intent.units for intent in doubtful),
        model_change=find_model_change(
            cache, [one.key for one in (*to_buy, *left_out)], model, prices
        ),
    )


def _amounts(requests: Iterable[EmbeddingRequest]) -> Amounts:
    """What these requests may be billed as, before anything is sent: tokens are estimated."""
    images = texts = tokens = pixels = 0
    for request in requests:
        if isinstance(request.payload, str):
            texts += 1
            tokens += estimated_tokens(len(request.payload.encode()))
        else:
            images += 1
            pixels += request.pixels
    return Amounts(images=images, texts=texts, tokens=tokens, pixels=pixels)
