"""The product's own vendor, in a process that kills itself at a named point.

The points wrap the product's objects; the product's code is unchanged.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import uvicorn
from sqlalchemy import Engine, event
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.chaos.history import History, KillSwitch
from benchmarks.chaos.items import Spec
from benchmarks.support.wrapped_encoder import WrappedEncoder
from teacher_server.api.app import create_app
from teacher_server.atomic_file import write_atomically
from teacher_server.inference.model_info import Prepared, Vectors
from teacher_server.ledger.charges import Charges
from teacher_server.ledger.entry import LedgerEntry
from teacher_server.ledger.ledger import Ledger, open_database, open_ledger
from teacher_server.ledger.purchase import Earlier, Price, Purchase, Refused, Reservation
from teacher_server.operations.logs import configure_logging
from teacher_server.server.connections import ConnectionLimits, limited_protocol
from teacher_server.server.load_model import LoadedEncoder
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
    """The settings of an ordinary vendor, except for the shortest lease."""
    return VendorSettings(
        database=spec["dsn"], lease_seconds=10, max_delay_ms=2, **spec.get("options", {})
    )


def run_vendor(spec: Spec, encoder: LoadedEncoder) -> int:
    """Serve on a free port until killed; the port is written to the spec's `port_file`."""
    configure_logging()
    settings = settings_of(spec)
    pepper = settings.pepper.get_secret_value() if settings.pepper is not None else None
    with (
        History(Path(spec["history"])) as history,
        open_database(settings.database) as engine,
        open_ledger(engine, lease_seconds=settings.lease_seconds, pepper=pepper) as ledger,
    ):
        kill_switch = KillSwitch(history, **spec.get("kill_switch", {}))
        history.write("start", boot_id=ledger.boot_id)
        app = create_app(
            encoder=KillableEncoder(encoder, kill_switch),
            ledger=with_kill_switch(ledger, engine, kill_switch),
            settings=settings,
        )
        limits = ConnectionLimits(
            header_seconds=settings.header_seconds,
            body_seconds=settings.body_seconds,
            max_connections=settings.max_connections,
        )
        config = uvicorn.Config(
            KillableApp(app, kill_switch),
            host="127.0.0.1",
            port=0,
            http=limited_protocol(limits),
            timeout_keep_alive=settings.keep_alive_seconds,
            log_config=None,
            access_log=False,
        )
        AnnouncingServer(config, Path(spec["port_file"])).run()
    return 0


class AnnouncingServer(uvicorn.Server):
    """A server that writes its port to a file once it accepts connections."""

    def __init__(self, config: uvicorn.Config, port_file: Path) -> None:
        super().__init__(config)
        self._port_file = port_file

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            write_atomically(self._port_file, f"{port}\n")


class KillableEncoder(WrappedEncoder):
    """An encoder whose process may be killed after a batch."""

    def __init__(self, encoder: LoadedEncoder, kill_switch: KillSwitch) -> None:
        super().__init__(encoder)
        self._kill_switch = kill_switch

    def encode(self, items: Sequence[Prepared]) -> Vectors:
        vectors = self._encoder.encode(items)
        self._kill_switch.reach("after-encode")
        return vectors


class KillableCharges(Charges):
    """Charges whose process may be killed after a reservation and around the commit of a charge."""

    def __init__(self, charges: Charges, engine: Engine, kill_switch: KillSwitch) -> None:
        # Share the state of the original, so that charging works exactly as in the product.
        self.__dict__.update(vars(charges))
        self._kill_switch = kill_switch
        # Of the transaction in this thread: whether it charges.
        self._posting = threading.local()
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)

    def submit_reserve(
        self, purchase: Purchase, price: Price
    ) -> Future[Reservation | Earlier | Refused]:
        reserving = super().submit_reserve(purchase, price)
        reserving.add_done_callback(self._reserved)
        return reserving

    def submit_post(
        self,
        reservation: Reservation,
        *,
        model: str,
        model_fingerprint: str,
        embeddings_sha256: str | None = None,
        render: Callable[[LedgerEntry], bytes],
    ) -> Future[bytes]:
        def rendered(entry: LedgerEntry) -> bytes:
            self._posting.now = True
            return render(entry)

        posting = super().submit_post(
            reservation,
            model=model,
            model_fingerprint=model_fingerprint,
            embeddings_sha256=embeddings_sha256,
            render=rendered,
        )
        posting.add_done_callback(self._posted)
        return posting

    # The callbacks run in the thread that has committed, before the request learns of it.
    def _reserved(self, reserving: Future[Reservation | Earlier | Refused]) -> None:
        if reserving.exception() is None and isinstance(reserving.result(), Reservation):
            self._kill_switch.reach("after-reserve")

    def _posted(self, posting: Future[bytes]) -> None:
        if posting.exception() is None:
            self._kill_switch.reach("after-commit")

    def _begin(self, _connection: object) -> None:
        self._posting.now = False

    def _commit(self, _connection: object) -> None:
        """SQLAlchemy calls this after the last statement and before COMMIT."""
        if getattr(self._posting, "now", False):
            self._kill_switch.reach("before-commit")


def with_kill_switch(ledger: Ledger, engine: Engine, kill_switch: KillSwitch) -> Ledger:
    """Return the same ledger with kill points in its charges."""
    return replace(ledger, charges=KillableCharges(ledger.charges, engine, kill_switch))


class KillableApp:
    """The app with kill points in its paid answers: before the first byte and halfway."""

    def __init__(self, app: ASGIApp, kill_switch: KillSwitch) -> None:
        self._app = app
        self._kill_switch = kill_switch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_sale = scope["type"] == "http" and scope["path"] == "/v1/embeddings"
        await self._app(scope, receive, self._with_kill_points(send) if is_sale else send)

    def _with_kill_points(self, send: Send) -> Send:
        is_paid = False

        async def sending(message: Message) -> None:
            nonlocal is_paid
            if message["type"] == "http.response.start":
                is_paid = message["status"] == 200
                if is_paid:
                    self._kill_switch.reach("before-send")
            elif is_paid and (body := message.get("body", b"")):
                half = len(body) // 2
                await send({**message, "body": body[:half], "more_body": True})
                self._kill_switch.reach("mid-send")
                message = {**message, "body": body[half:]}
            await send(message)

        return sending
