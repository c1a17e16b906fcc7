"""Who may see a page: finds the session of a request, and limits the requests of each visitor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any, Final

from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from teacher_server.api.dependencies import ServicesDep
from teacher_server.api.problem_types import Code
from teacher_server.api.problems import Problem, request_id_of
from teacher_server.api.rate_limits import whole_seconds
from teacher_server.errors import StorageUnavailable
from teacher_server.limits.rate_limiter import (
    ConcurrencyExceeded,
    KeyLimits,
    RateExceeded,
    RateLimiter,
)
from teacher_server.operations.storage import unavailable
from teacher_server.pages.rendering.render import render
from teacher_server.pages.security.session import COOKIE, Session, find_session

# A page asks for its figures every 5 seconds, and somebody may keep several open.
_PER_SESSION: Final = KeyLimits(requests_per_minute=240, max_concurrent=8)
_PER_ADDRESS: Final = KeyLimits(requests_per_minute=30, max_concurrent=4)
_MOST_ADDRESSES: Final = 4096


class SignInNeeded(Exception):
    """The request has no session; nothing was changed. `area` is the page to sign in on."""

    def __init__(self, *, area: str) -> None:
        super().__init__(area)
        self.area = area


class PageRoute(APIRoute):
    """A route that shows problems as pages, and sends who has no session to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                name = str(error.errors()[0]["loc"][-1])
                reason = f"`{name}` in the address is not valid"
                return _problem_page(request, Problem(Code.INVALID_REQUEST, reason))
            except SignInNeeded as error:
                return RedirectResponse(f"{error.area}?ended=yes", 303)
            except Problem as error:
                return _problem_page(request, error)
            except StorageUnavailable as error:
                return _problem_page(request, Problem(Code.STORAGE_UNAVAILABLE, str(error)))
            except DBAPIError as error:
                fault = request.app.state.services.storage.note(error)
                if fault is None:
                    raise
                reason = str(unavailable(fault))
                return _problem_page(request, Problem(Code.STORAGE_UNAVAILABLE, reason))

        return shown


def _problem_page(request: Request, problem: Problem) -> Response:
    request.scope["state"]["problem_code"] = problem.code
    document = problem.document(request_id_of(request))
    response = render("problem.html", status=document["status"], problem=document)
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


async def _visitor(request: Request, services: ServicesDep) -> AsyncIterator[Session | None]:
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        yield None
        return
    ledger = services.ledger
    session = await asyncio.to_thread(find_session, cookie, ledger.keys, ledger.ended_sessions)
    if session is None:
        yield None
        return
    request.scope["state"]["key_id"] = session.account.id
    with _admitted(request, f"session of {session.account.id}", _PER_SESSION):
        yield session


Visitor = Annotated[Session | None, Depends(_visitor)]


async def _key_holder(visitor: Visitor) -> Session:
    if visitor is None:
        raise SignInNeeded(area="/")
    return visitor


async def operator_of(visitor: Visitor) -> Session:
    """The visitor, if its key has the scope `admin`; raises SignInNeeded or a Problem."""
    if visitor is None:
        raise SignInNeeded(area="/admin")
    if not visitor.is_operator:
        reason = "this page needs a key with the scope `admin`; sign out, then sign in with one"
        raise Problem(Code.INSUFFICIENT_SCOPE, reason)
    return visitor


KeyHolder = Annotated[Session, Depends(_key_holder)]
Operator = Annotated[Session, Depends(operator_of)]


def admitted_address(request: Request) -> AbstractContextManager[None]:
    """Limits the tries to sign in from one address, as `_admitted` does."""
    address = "" if request.client is None else request.client.host
    # Few buckets, so that nobody can fill the memory with addresses.
    return _admitted(request, f"address {hash(address) % _MOST_ADDRESSES}", _PER_ADDRESS)


@contextmanager
def _admitted(request: Request, visitor: str, limits: KeyLimits) -> Iterator[None]:
    limiter: RateLimiter = request.app.state.page_limits
    try:
        with limiter.admit(visitor, limits):
            yield
    except ConcurrencyExceeded as error:
        reason = "too many pages are loading at once"
        raise Problem(Code.TOO_MANY_CONCURRENT, reason) from error
    except RateExceeded as error:
        reason = f"these pages allow {limits.requests_per_minute} requests per minute"
        wait = whole_seconds(error.wait_ns)
        raise Problem(Code.RATE_LIMITED, reason, retry_after=wait) from error


def require_browser(request: Request) -> None:
    """Raises the 404 of a path without a route unless the client asks for HTML: for the API's
    clients, there are no pages."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
