"""The bodies of the administrator's routes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from teacher_server.api.schemas import Answer, KeyStanding, Strict
from teacher_server.ledger.account import LAST_MS, Scope
from teacher_server.ledger.period import Period

# An Integer of a structured field has fifteen digits at most (RFC 9651, section 3.3.1); that is far
# from a column's end.
LARGEST = 10**15 - 1
Count = Annotated[int, Field(ge=1, le=LARGEST)]
_Moment = Annotated[int, Field(ge=1, le=LAST_MS)]
_Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Scopes = Annotated[list[Scope], Field(min_length=1, max_length=3)]
_LIMITS: dict[str, Any] = {"scopes": ["embed"], "requests_per_minute": 600}


class NewKey(Strict):
    """A key to make; with a period, `budget_units` is what each one grants."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "lab", "budget_units": 50_000, "period": "month"}]}
    )

    name: _Name
    budget_units: Annotated[int, Field(ge=0, le=LARGEST)]
    scopes: _Scopes = Field(default=["embed", "read"])
    expires_ms: _Moment | None = Field(default=None, description="Unix milliseconds; null: never.")
    requests_per_minute: Count | None = Field(default=None, description="null: the vendor's.")
    max_concurrent: Count | None = Field(default=None, description="null: the vendor's.")
    period: Period = "none"


class KeyChange(Strict):
    """What to change of a key; what is left out stays, null puts the vendor's default back."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LIMITS]})

    scopes: _Scopes = Field(default=["embed", "read"])
    expires_ms: _Moment | None = None
    requests_per_minute: Count | None = None
    max_concurrent: Count | None = None


class TopUp(Strict):
    """Units to grant."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"units": 1000}]})

    units: Count


class NewCorrection(Strict):
    """What to give back of a charge: units, cost, or both."""

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
    """A key as its administrator sees it; never its secret."""

    revoked_ms: int | None
    last_used_ms: int | None


class KeyList(Answer):
    object: Literal["list"] = "list"
    data: list[KeyRecord]


class KeyWithSecret(KeyRecord):
    """A key with the token to hand over: it is shown in this answer and never again."""

    key: str


class Verification(Answer):
    """What was recomputed, and each fault as a sentence that names the row.

    `units_charged` is what charges say; corrections gave `units_corrected` of it back.
    """

    balanced: bool
    keys: int
    entries: int
    units_charged: int
    units_corrected: int
    faults: list[str]
