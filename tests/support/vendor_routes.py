"""Every route of an app, including those of routers and mounted apps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path template) of each."""
    yield from _walked(app.routes, "")


def _walked(routes: Sequence[BaseRoute], prefix: str) -> Iterator[tuple[str, str]]:
    for route in iter_route_contexts(routes):
        if isinstance(route.route, Mount):
            yield from _walked(route.route.routes, prefix + route.route.path)
            continue
        # A route type without a path or methods would need its own handling here.
        assert route.path is not None, route
        assert route.methods, route
        for method in sorted(route.methods):
            yield method, prefix + route.path
