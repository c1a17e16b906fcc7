"""The state of a purchase while it runs, and its summary when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cache.reports.spend import iso_time
from student.errors import BudgetLimit
from student.purchase.embedding_requests import EmbeddingRequest

StopReason = BudgetLimit | Literal["complete", "waiting", "teacher guesses", "class text refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot of a running purchase, counted in embeddings unless stated otherwise.

    `planned` is what the purchase set out to buy. `bought` are stored; `recovered` were requested
    by a killed run and stored by this run; `in_flight` are sent and not answered yet. `restored`
    rows had gone from the cache and were fetched again for free. `written_off` were charged, and
    the vendor has deleted their answers. `in_doubt` were sent to a vendor that knows no purchases,
    and never answered. `units` are queries. `retries` counts attempts after the
    first, `concurrency` the requests that may be in flight now.
    """

    planned: int
    cached: int
    bought: int = 0
    recovered: int = 0
    restored: int = 0
    written_off: int = 0
    in_doubt: int = 0
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

    request: EmbeddingRequest
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseSummary:
    """The end of a purchase. Everything that it counts is stored in the cache.

    `units` (queries) and `cost_micro_usd` are the sums of the receipts that this purchase stored,
    `requests` the number of answers. `left_out` are neither paid nor refused; `stop_reason` says
    why: the "client budget", the "shared budget" or the "vendor budget" ran out, or the purchase is
    "waiting" for `open_purchases` that cannot be settled yet, because another account made them or
    a request of a killed run may still arrive, or its first answers showed that the "teacher
    guesses", or a "class text refused" leaves nothing to train; `waits_until_ms` (Unix time) is
    when they can be settled, None if no time can be given. `restored`, `written_off` and `in_doubt`
    as in `Progress`; `request_milliseconds` and `request_items` as in `RunRecord`.
    """

    stop_reason: StopReason
    bought: int
    recovered: int
    cached: int
    refused: tuple[Refused, ...]
    left_out: int
    open_purchases: int
    units: int
    cost_micro_usd: int
    requests: int
    retries: int
    restored: int = 0
    written_off: int = 0
    in_doubt: int = 0
    waits_until_ms: int | None = None
    request_milliseconds: int | None = None
    request_items: int | None = None


def waiting_advice(summary: PurchaseSummary) -> str:
    """What to do about embeddings that open purchases of other runs ask for."""
    cause = f"open purchases of other runs ask for {summary.left_out:,} of the embeddings"
    if summary.waits_until_ms is None:
        return (
            f"{cause}: their runs are alive, or were made with another API key; "
            "`cache-report summary` lists them. Run again when those runs have ended, with that key"
        )
    return (
        f"{cause}, and a request of a killed run may still be on its way; run again in ten "
        f"minutes, when they can be settled (from {iso_time(summary.waits_until_ms)} on). "
        "`cache-report summary` lists them"
    )


def silent(_: Progress) -> None:
    """The listener of a caller that does not follow the progress."""
