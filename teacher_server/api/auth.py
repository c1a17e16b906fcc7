"""Authentication: the bearer key is checked against the ledger before the body is read."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from teacher_server.api.dependencies import Services
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem
from teacher_server.ledger.account import Account
from teacher_server.ledger.api_key import ApiKey

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    description="`sk_<id>_<secret>`, created by `keys create`.",
)


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def authenticated(
    request: Request, services: Services, credentials: HTTPAuthorizationCredentials | None
) -> Account:
    """The account of the request's API key; raises a Problem without a valid one."""
    if "authorization" not in request.headers:
        raise Problem(Code.MISSING_KEY, "the request has no Authorization header")
    key = ApiKey.parse(credentials.credentials) if credentials is not None else None
    if key is None:
        raise Problem(
            Code.INVALID_KEY, "the Authorization header does not hold a key of this vendor"
        )
    account = await asyncio.to_thread(services.ledger.keys.authenticate, key)
    if account is None:
        raise Problem(
            Code.INVALID_KEY, "the key is unknown, expired or revoked, or its secret is wrong"
        )
    request.scope["state"]["key_id"] = account.id
    return account
