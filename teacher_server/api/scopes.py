"""Authorization: which scopes a key needs for a route."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.rate_limits import AdmittedAccount
from teacher_server.ledger.account import Account

REFUSALS = (
    Code.MISSING_KEY,
    Code.INVALID_KEY,
    Code.INSUFFICIENT_SCOPE,
    Code.RATE_LIMITED,
    Code.TOO_MANY_CONCURRENT,
    Code.INTERNAL_ERROR,
)


class _RequireScope:
    """Admits a key that has at least one of the scopes."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = scopes

    async def __call__(self, account: AdmittedAccount) -> Account:
        if not set(self._scopes) & set(account.scopes):
            needed = " or ".join(f"`{scope}`" for scope in self._scopes)
            raise Problem(
                Code.INSUFFICIENT_SCOPE, f"this route needs a key with the scope {needed}"
            )
        return account


Buyer = Annotated[Account, Depends(_RequireScope("embed"))]
Reader = Annotated[Account, Depends(_RequireScope("read"))]
Caller = Annotated[Account, Depends(_RequireScope("embed", "read"))]
Admin = Annotated[Account, Depends(_RequireScope("admin"))]
