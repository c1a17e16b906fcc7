"""Raw sockets against an app behind uvicorn and the vendor's connection limits."""

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

from teacher_server.server.connections import ConnectionLimits, limited_protocol

LONG_TIMEOUTS = ConnectionLimits(header_seconds=60, body_seconds=60, max_connections=100)


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes of one HTTP answer, or everything until the server closed the connection."""

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
class Connection:
    """One TCP connection to the server."""

    socket: socket.socket

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read_to_end(self) -> Answer:
        """Read until the server closes the connection."""
        received = bytearray()
        while data := self._received():
            received += data
        return Answer(bytes(received))

    def read_answer(self) -> Answer:
        """Read one answer, whose length is in its Content-Length."""
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += self._some()
        start = Answer(bytes(received))
        missing = int(start.headers["content-length"]) - len(start.body)
        while missing > 0:
            received += (data := self._some())
            missing -= len(data)
        return Answer(bytes(received))

    def _some(self) -> bytes:
        data = self._received()
        assert data, "the server closed the connection before its answer was complete"
        return data

    def _received(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""


@dataclass(frozen=True, slots=True)
class LocalServer:
    """The port that a server on this machine listens on."""

    port: int

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as made:
            yield Connection(made)

    def get(self, path: str = "/", *headers: str) -> Answer:
        """Send a GET request on a connection of its own and read the answer."""
        with self.connect() as connection:
            connection.send(head("GET", path, *headers, "Connection: close"))
            return connection.read_to_end()


def head(method: str, path: str, *headers: str) -> bytes:
    """Return the request line and the headers."""
    lines = [f"{method} {path} HTTP/1.1", "Host: vendor", *headers, "", ""]
    return "\r\n".join(lines).encode()


@contextmanager
def serving_in_thread(
    app: ASGIApp, limits: ConnectionLimits, *, keep_alive_seconds: int = 60
) -> Iterator[LocalServer]:
    """Serve the app by uvicorn in a thread, configured as `teacher-server serve` does."""
    config = uvicorn.Config(
        app,
        http=limited_protocol(limits),
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
            yield LocalServer(listener.getsockname()[1])
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
