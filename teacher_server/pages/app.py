"""Adds the pages to the vendor's app, behind the API's routes and outside its OpenAPI document."""

from __future__ import annotations

from fastapi import FastAPI

from teacher_server.limits.rate_limiter import RateLimiter
from teacher_server.pages import key_holder, operator
from teacher_server.pages.rendering import assets


def add_pages(app: FastAPI) -> None:
    """Add the pages to an app that `create_app` made."""
    # Limits of their own: looking at a page takes nothing from what the key may buy.
    app.state.page_limits = RateLimiter()
    for module in (key_holder, operator, assets):
        app.include_router(module.router)
