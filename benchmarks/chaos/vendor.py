"""The product's own vendor, in a process that ends itself at a named point.

The points are made by standing around the product's objects; the product knows nothing of them.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from PIL import Image
from sqlalchemy import Engine, event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.chaos.fork_server import Spec
from benchmarks.chaos.history import History, KillSwitch
from teacher_server.api.app import create_app
from teacher_server.inference.info import Encoder, ModelInfo, Prepared, Vectors
from teacher_server.ledger.charges import Charges, Earlier, Purchase, Refused, Reservation
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger, opened, serving
from teacher_server.ledger.price import Price
from teacher_server.operations.logs import configure_logging
from teacher_server.server.connections import ConnectionLimits, guarded
from teacher_server.server.run import write_atomically
from teacher_server.settings import VendorSettings

POINTS = (
    "after-reserve",
    "after-encode",
    "before-commit",
    "after-commit",
    "before-send",
    "mid-send",
)


def settings_of(spec: Spec) -> VendorSettings:
    """The vendor as a customer would set it up, but for the shortest lease."""
    return VendorSettings(
        database=spec["dsn"], lease_seconds=10, max_delay_ms=2, **spec.get("options", {})
    )


def run_vendor(spec: Spec, encoder: Encoder) -> int:
    """Serve on a free port, written to `port_file` once it listens, until killed."""
    configure_logging()
    settings = settings_of(spec)
    pepper = settings.pepper.get_secret_value() if settings.pepper is not None else None
    with (
        History(Path(spec["history"])) as history,
        opened(settings.database) as engine,
        serving(engine, lease_seconds=settings.lease_seconds, pepper=pepper) as ledger,
    ):
        fuse = KillSwitch(history, **spec.get("fuse", {}))
        history.write("start", boot_id=ledger.boot_id)
        app = create_app(
            encoder=FusedEncoder(encoder, fuse),
            ledger=fused(ledger, engine, fuse),
            settings=settings,
        )
        limits = ConnectionLimits(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            max_connections=settings.max_connections,
        )
        config = uvicorn.Config(
            FusedApp(app, fuse),
            host="127.0.0.1",
            port=0,
            http=guarded(limits),
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,
            access_log=False,
        )
        AnnouncingServer(config, Path(spec["port_file"])).run()
    return 0


class AnnouncingServer(uvicorn.Server):
    """A server that writes its port to a file once it listens."""

    def __init__(self, config: uvicorn.Config, port_file: Path) -> None:
        super().__init__(config)
        self._port_file = port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            write_atomically(self._port_file, f"{port}\n")


class FusedEncoder:
    """An encoder whose batch may be its last."""

    def __init__(self, encoder: Encoder, fuse: KillSwitch) -> None:
        self._encoder = encoder
        self._fuse = fuse

    @property
    def info(self) -> ModelInfo:
        return self._encoder.info

    def prepare_image(self, image: Image.Image) -> Prepared:
        return self._encoder.prepare_image(image)

    def prepare_text(self, text: str) -> Prepared:
        return self._encoder.prepare_text(text)

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        vectors = self._encoder.encode(items)
        self._fuse.reach("after-encode")
        return vectors


class FusedCharges(Charges):
    """Charges that may end the process between a reservation and its charge, and around it."""

    def __init__(self, charges: Charges, engine: Engine, fuse: KillSwitch) -> None:
        # The same charges, seen from outside: no second opinion on how they are made.
        self.__dict__.update(vars(charges))
        self._fuse = fuse
        self._posting = threading.local()
        event.listen(engine, "commit", self._commit)

    def reserve(self, purchase: Purchase, price: Price) -> Reservation | Earlier | Refused:
        outcome = super().reserve(purchase, price)
        if isinstance(outcome, Reservation):
            self._fuse.reach("after-reserve")
        return outcome

    def post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        render: Callable[[LedgerEntry], bytes],
    ) -> bytes:
        self._posting.now = True
        try:
            body = super().post(
                reservation, model=model, model_fingerprint=model_fingerprint, render=render
            )
        finally:
            self._posting.now = False
        self._fuse.reach("after-commit")
        return body

    def _commit(self, _connection: object) -> None:
        """SQLAlchemy calls this when every statement has run and COMMIT has not."""
        if getattr(self._posting, "now", False):
            self._fuse.reach("before-commit")


def fused(ledger: Ledger, engine: Engine, fuse: KillSwitch) -> Ledger:
    """The same ledger with a fuse in its charges."""
    return replace(ledger, charges=FusedCharges(ledger.charges, engine, fuse))


class FusedApp:
    """The app behind a fuse on its paid answers: before the first byte, and between two."""

    def __init__(self, app: ASGIApp, fuse: KillSwitch) -> None:
        self._app = app
        self._fuse = fuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_sale = scope["type"] == "http" and scope["path"] == "/v1/embeddings"
        await self._app(scope, receive, self._watched(send) if is_sale else send)

    def _watched(self, send: Send) -> Send:
        is_paid = False

        async def sending(message: Message) -> None:
            nonlocal is_paid
            if message["type"] == "http.response.start":
                is_paid = message["status"] == 200
                if is_paid:
                    self._fuse.reach("before-send")
            elif is_paid and (body := message.get("body", b"")):
                half = len(body) // 2
                await send({**message, "body": body[:half], "more_body": True})
                self._fuse.reach("mid-send")
                message = {**message, "body": body[half:]}
            await send(message)

        return sending
