"""Raw sockets against an app behind uvicorn and the vendor's guard of connections."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from teacher_server.server.connections import ConnectionLimits, guarded

PATIENT = ConnectionLimits(header_seconds=60, body_seconds=60, max_connections=100)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back over a socket until the server closed it or the answer was whole."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        assert document["charged_units"] == 0
        assert document["request_id"] == self.headers["x-request-id"]
        return document


@dataclass(frozen=True, slots=True)
class Line:
    """One connection."""

    socket: socket.socket

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def rest(self) -> Answer:
        """All that comes until the server closes."""
        received = bytearray()
        while data := self._received():
            received += data
        return Answer(bytes(received))

    def answer(self) -> Answer:
        """One answer of a declared length."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._some()
        start = Answer(received)
        missing = int(start.headers["content-length"]) - len(start.body)
        whole = bytearray(received)
        while missing > 0:
            whole += (data := self._some())
            missing -= len(data)
        return Answer(bytes(whole))

    def _some(self) -> bytes:
        data = self._received()
        assert data, "the server closed before its answer was whole"
        return data

    def _received(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a server listens."""

    port: int

    @contextmanager
    def line(self) -> Iterator[Line]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as made:
            yield Line(made)

    def get(self, path: str = "/", *headers: str) -> Answer:
        """A whole request on a connection of its own."""
        with self.line() as line:
            line.send(head("GET", path, *headers, "Connection: close"))
            return line.rest()


def head(method: str, path: str, *headers: str) -> bytes:
    """The head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: vendor", *headers, "", ""]
    return "\r\n".join(lines).encode()


@contextmanager
def listening(
    app: ASGIApp, limits: ConnectionLimits, *, keep_alive_seconds: int = 60
) -> Iterator[Door]:
    """The app behind uvicorn in a thread, as `serve` sets it up."""
    config = uvicorn.Config(
        app,
        http=guarded(limits),
        ws="none",
        timeout_keep_alive=keep_alive_seconds,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        has_started = threading.Event()
        server = _Server(config, has_started)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert has_started.wait(30)
            yield Door(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, has_started: threading.Event) -> None:
        super().__init__(config)
        self._has_started = has_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._has_started.set()
