"""The vendor's app in a process that Ray Serve starts: it keeps nothing that is not in the ledger.

Its parts are opened when the replica starts and closed when it stops, both within the event loop of
its requests. The encoder runs in other processes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from teacher_server.api.app import create_app_with_queue
from teacher_server.inference.model_info import Preparation
from teacher_server.ledger.ledger import Ledger
from teacher_server.operations.logs import configure_logging
from teacher_server.operations.metrics import Metrics
from teacher_server.pages.app import add_pages
from teacher_server.ray_serve.remote_batcher import Encode, RemoteBatcher
from teacher_server.server.own_ledger import own_ledger
from teacher_server.settings import VendorSettings, load_settings
from teacher_server.tracing import open_tracer

GetPreparation = Callable[[], Awaitable[Preparation]]


class ApiReplica:
    """An ASGI app that becomes the vendor's when its lifespan begins.

    The settings come from the environment. `preparation` asks an encoder once for what makes its
    model's input, and `encode` sends it items.
    """

    def __init__(self, preparation: GetPreparation, encode: Encode) -> None:
        self._preparation = preparation
        self._encode = encode
        self._app: ASGIApp = Router()
        self._lifespan = Router(lifespan=self._opened)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._lifespan if scope["type"] == "lifespan" else self._app
        await app(scope, receive, send)

    @contextmanager
    def ledger(self, settings: VendorSettings) -> Iterator[Ledger]:
        """The ledger of this replica, open until the block ends."""
        with own_ledger(settings) as ledger:
            yield ledger

    def served(self, app: ASGIApp) -> ASGIApp:
        """What answers the requests: the vendor's app."""
        return app

    @asynccontextmanager
    async def _opened(self, _: object) -> AsyncIterator[None]:
        settings = load_settings({})
        configure_logging(settings.log_format)
        preparation = await self._preparation()
        with self.ledger(settings) as ledger, open_tracer() as tracer:
            app = create_app_with_queue(
                RemoteBatcher(self._encode),
                preparation=preparation,
                ledger=ledger,
                settings=settings,
                metrics=Metrics(),
                tracer=tracer,
            )
            add_pages(app)
            async with app.router.lifespan_context(app):
                self._app = self.served(app)
                yield
