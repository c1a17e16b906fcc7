"""What a purchase tells while it goes on, and what it has done when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from student.errors import Wall
from student.purchase.requests import EmbeddingRequest

StopReason = Wall | Literal["complete", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot of a running purchase: items, except `units` (queries) and micro-USD.

    `planned` is what the purchase set out to get, `bought` and `recovered` (asked for by a killed
    run, stored by this one) what it has, `in_flight` what is on the wire. `restored` rows had gone
    from the cache and were given again for free; `lost` were charged, and the vendor has no answer
    any more. `retries` counts attempts beyond the first, `concurrency` the requests that may be in
    flight now.
    """

    planned: int
    cached: int
    bought: int = 0
    recovered: int = 0
    restored: int = 0
    lost: int = 0
    refused: int = 0
    in_flight: int = 0
    units: int = 0
    cost_micro_usd: int = 0
    retries: int = 0
    concurrency: int = 0


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An item that the vendor will never embed, and why; it was not charged."""

    wanted: EmbeddingRequest
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseSummary:
    """The end of a purchase. Everything counted here is in the cache, durable.

    `units` and `cost_micro_usd` are the sums of the receipts that this purchase stored, `requests`
    the answers it stored. `left_out` items are neither paid nor refused; `ending` says why:
    "client budget" or "vendor budget" ran out, or "waiting" for `kept` purchases whose end only
    time can tell (another account has asked for them, or a killed run may have). `restored` rows
    were put back for free; `lost` items were charged and their answers are gone from the vendor.
    """

    ending: StopReason
    bought: int
    recovered: int
    cached: int
    refused: tuple[Refused, ...]
    left_out: int
    kept: int
    units: int
    cost_micro_usd: int
    requests: int
    retries: int
    restored: int = 0
    lost: int = 0


def silent(_: Progress) -> None:
    """The listener of a caller that does not want to know."""
