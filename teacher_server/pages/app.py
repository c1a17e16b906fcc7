"""Adds the pages to the vendor's app, behind the API's routes and outside its OpenAPI document."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from teacher_server.limits.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI


def add_pages(app: FastAPI) -> None:
    """Answer with pages what no route of the API answers, in an app that `create_app` made.

    Their modules are imported with the first such request: a server that only sells neither starts
    later nor looks through more routes.
    """
    # Limits of their own: looking at a page takes nothing from what the key may buy.
    app.state.page_limits = RateLimiter()

    async def pages(scope: Scope, receive: Receive, send: Send) -> None:
        router = await asyncio.to_thread(_router)
        await router(scope, receive, send)

    app.router.default = pages


@cache
def _router() -> APIRouter:
    from fastapi import APIRouter

    from teacher_server.pages import key_holder, operator
    from teacher_server.pages.rendering import assets

    router = APIRouter(redirect_slashes=False)
    for module in (key_holder, operator, assets):
        router.include_router(module.router)
    return router
