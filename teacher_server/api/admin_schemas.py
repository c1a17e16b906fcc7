"""Request and response bodies of the admin routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from teacher_server.api.account_schemas import KeyStanding
from teacher_server.api.schemas import RequestModel, ResponseModel
from teacher_server.ledger.account import LAST_MS, Scope
from teacher_server.ledger.period import Period

# An Integer in a structured field has at most fifteen digits (RFC 9651, section 3.3.1). A database
# column can hold far more.
LARGEST = 10**15 - 1
Count = Annotated[int, Field(ge=1, le=LARGEST)]
_Moment = Annotated[int, Field(ge=1, le=LAST_MS)]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Scopes = Annotated[list[Scope], Field(min_length=1, max_length=3)]
_LIMITS: dict[str, Any] = {"scopes": ["embed"], "requests_per_minute": 600}


class NewKey(RequestModel):
    """A key to create; with a period, `budget_units` is granted in each period."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "lab", "budget_units": 50_000, "period": "month"}]}
    )

    name: _Name
    budget_units: Annotated[int, Field(ge=0, le=LARGEST)]
    scopes: _Scopes = Field(default=["embed", "read"])
    expires_ms: _Moment | None = Field(default=None, description="Unix milliseconds; null: never.")
    requests_per_minute: Count | None = Field(
        default=None, description="null: the vendor's default."
    )
    max_concurrent: Count | None = Field(default=None, description="null: the vendor's default.")
    period: Period = "none"


class KeyChange(RequestModel):
    """Changes of a key. Fields left out stay as they are; null restores the vendor's default."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LIMITS]})

    scopes: _Scopes = Field(default=["embed", "read"])
    expires_ms: _Moment | None = None
    requests_per_minute: Count | None = None
    max_concurrent: Count | None = None


class TopUp(RequestModel):
    """Queries to add to the budget."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"units": 1000}]})

    units: Count


class NewCorrection(RequestModel):
    """What to refund of a charge: queries, cost, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "req_0f8fad5bd9cb469fa165708677289502",
                    "units": 1,
                    "cost_micro_usd": 100,
                    "reason": "billed at last month's price",
                }
            ]
        }
    )

    request_id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
    units: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    cost_micro_usd: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    reason: Annotated[
        str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")
    ]


class KeyRecord(KeyStanding):
    """A key as an administrator sees it, without its secret."""

    revoked_ms: int | None
    last_used_ms: int | None


class KeyList(ResponseModel):
    object: Literal["list"] = "list"
    data: list[KeyRecord]


class KeyWithSecret(KeyRecord):
    """A key with its token, which is shown in this answer and never again."""

    key: str


class Verification(ResponseModel):
    """What was checked, and each fault as a sentence that names the row.

    `units_charged` is the sum of all charges; corrections refunded `units_corrected` of it.
    `charges_without_digest` are from before receipts committed to the embeddings.
    """

    balanced: bool
    keys: int
    entries: int
    units_charged: int
    units_corrected: int
    charges_without_digest: int
    faults: list[str]
