"""Which key may use which routes: known, within its limits, and of the right scope."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from teacher_server.api.problems import Code, Problem
from teacher_server.api.rate_limits import Admitted
from teacher_server.ledger.keys import Account

REFUSALS = (
    Code.MISSING_KEY,
    Code.INVALID_KEY,
    Code.INSUFFICIENT_SCOPE,
    Code.RATE_LIMITED,
    Code.TOO_MANY_CONCURRENT,
    Code.INTERNAL_ERROR,
)


class _Holder:
    """Lets a key through that has one of the scopes."""

    def __init__(self, *scopes: str) -> None:
        self._scopes = scopes

    async def __call__(self, account: Admitted) -> Account:
        if not set(self._scopes) & set(account.scopes):
            needed = " or ".join(f"`{scope}`" for scope in self._scopes)
            raise Problem(Code.INSUFFICIENT_SCOPE, f"this needs a key with the scope {needed}")
        return account


Buyer = Annotated[Account, Depends(_Holder("embed"))]
Reader = Annotated[Account, Depends(_Holder("read"))]
Caller = Annotated[Account, Depends(_Holder("embed", "read"))]
Admin = Annotated[Account, Depends(_Holder("admin"))]
