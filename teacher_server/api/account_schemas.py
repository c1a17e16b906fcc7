"""Response bodies about a key: its account and its usage."""

from __future__ import annotations

from typing import Literal

from teacher_server.api.schemas import ResponseModel
from teacher_server.ledger.account import Scope
from teacher_server.ledger.period import Period


class KeyStanding(ResponseModel):
    """The account of a key, in queries; remaining = budget - spent - reserved.

    With a period, `allowance_units` is what the period grants and `used_units` what was used in it;
    without a period, they are the whole budget and all spending. Times are Unix milliseconds.
    """

    id: str
    name: str
    budget_units: int
    spent_units: int
    reserved_units: int
    remaining_units: int
    created_ms: int
    scopes: list[Scope]
    expires_ms: int | None
    requests_per_minute: int
    max_concurrent: int
    period: Period
    period_start_ms: int | None
    allowance_units: int
    used_units: int


class UsageResult(ResponseModel):
    images: int
    texts: int
    units: int
    cost_micro_usd: int
    num_model_requests: int


class Bucket(ResponseModel):
    """A span of time (Unix seconds) with charges or corrections in it."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]


class UsagePage(ResponseModel):
    object: Literal["page"] = "page"
    data: list[Bucket]
    has_more: bool = False
    next_page: None = None
