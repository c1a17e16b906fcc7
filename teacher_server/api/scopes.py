"""Authorization: which scopes a key needs for a route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from teacher_server.api.auth import Credentials, authenticated
from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.api.rate_limits import admitted
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
    """Admits a request whose key is valid, within its limits, and has at least one of the scopes.

    One dependency, and not one for each step: FastAPI takes as long to resolve one as the steps
    take.
    """

    def __init__(self, *scopes: str) -> None:
        self._scopes = scopes

    async def __call__(
        self, request: Request, services: ServicesDep, credentials: Credentials
    ) -> AsyncIterator[Account]:
        account = await authenticated(request, services, credentials)
        async with admitted(request, services, account):
            if not set(self._scopes) & set(account.scopes):
                needed = " or ".join(f"`{scope}`" for scope in self._scopes)
                raise Problem(
                    Code.INSUFFICIENT_SCOPE, f"this route needs a key with the scope {needed}"
                )
            yield account


Buyer = Annotated[Account, Depends(_RequireScope("embed"))]
Reader = Annotated[Account, Depends(_RequireScope("read"))]
Caller = Annotated[Account, Depends(_RequireScope("embed", "read"))]
Admin = Annotated[Account, Depends(_RequireScope("admin"))]
