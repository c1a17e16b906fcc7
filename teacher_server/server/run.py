"""Runs the vendor: open the ledger, load the model, listen, and stop gracefully."""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Callable

import uvicorn

from teacher_server.api.app import create_app
from teacher_server.atomic_file import write_atomically
from teacher_server.operations.logs import configure_logging
from teacher_server.operations.network import client_options
from teacher_server.pages.app import add_pages
from teacher_server.server.connections import (
    ConnectionLimits,
    limited_protocol,
    raise_open_file_limit,
)
from teacher_server.server.first_key import ensure_first_key
from teacher_server.server.listener import listen_on, url_of
from teacher_server.server.load_model import load_model
from teacher_server.server.own_ledger import own_ledger
from teacher_server.settings import VendorSettings, unread_variables
from teacher_server.tracing import open_tracer

_log = logging.getLogger("teacher_server")


def serve(
    settings: VendorSettings, *, announce: Callable[[str], None], show: Callable[[str], None]
) -> None:
    """Serve until a signal stops it.

    `announce` gets the URL once connections are accepted. `show` gets the line with the first API
    key if one is made at this start; the log never holds a key, so it must not go there.
    """
    configure_logging(settings.log_format)
    if unread := unread_variables():
        _log.warning("no option reads %s: correct the name of the variable", ", ".join(unread))
    if settings.webhook_url is not None:
        client_options(str(settings.webhook_url))  # refused now, and not when an alert is due
    with (
        own_ledger(settings) as ledger,
        listen_on(settings.host, settings.port) as listener,
        open_tracer() as tracer,
    ):
        ensure_first_key(ledger, settings, show=show)
        encoder = load_model(settings)
        # What is loaded until here stays: later collections need not look at it.
        gc.freeze()
        gc.enable()
        app = create_app(encoder=encoder, ledger=ledger, settings=settings, tracer=tracer)
        add_pages(app)
        limits = ConnectionLimits(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            max_connections=raise_open_file_limit(settings.max_connections),
        )
        if limits.max_connections < settings.max_connections:
            _log.warning(
                "the system's limit on open files allows only %d of %d connections",
                limits.max_connections,
                settings.max_connections,
            )
        config = uvicorn.Config(
            app,
            http=limited_protocol(limits),
            # There is no WebSocket route, and an upgraded connection would have no limits.
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        url = url_of(settings.host, listener.getsockname()[1])

        def listening() -> None:
            if settings.url_file is not None:
                write_atomically(settings.url_file, url + "\n")
            announce(url)

        server = _AnnouncingServer(config, listening)
        # After stopping, uvicorn raises the signal again for the handlers that were there before.
        # Without these, the process would end before it closes the ledger.
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, lambda *_: None)
        server.run(sockets=[listener])


class _AnnouncingServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._listening()
