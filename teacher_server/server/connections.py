"""What one connection may take: time for its headers and its body, bytes, and a file handle."""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
from asyncio import TimerHandle
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teacher_server.api.problems import MEDIA_TYPE, Code, Problem

MAX_HEADER_BYTES = 32 * 1024
# Files that are no connections: the books, the model, the log, and what libraries open meanwhile.
_OTHER_FILES = 256
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Seconds and connections.

    `header_seconds` is for the whole head of a request, counted from its first byte (the first
    request's from the connect), `body_seconds` for its whole body, and again for the peer to take
    the answer: a client that drips bytes gains nothing by each.
    """

    header_seconds: float
    body_seconds: float
    max_connections: int


def raise_open_files(max_connections: int) -> int:
    """Let the process open as many files as this many connections need, within the hard limit;
    the number of connections that it can hold then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(max_connections, allowed - _OTHER_FILES))


def guarded(limits: ConnectionLimits) -> type[HttpToolsProtocol]:
    """A protocol for uvicorn that holds every connection to these limits."""

    class Guarded(_GuardedProtocol):
        _limits = limits

    return Guarded


class _HeadTooLarge(Exception):
    """The head of the message is over MAX_HEADER_BYTES."""


class _GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself waits for ever for the end of a head or of a body, and
    keeps a head of any size in memory."""

    _limits: ClassVar[ConnectionLimits]
    _incoming: TimerHandle | None = None
    _outgoing: TimerHandle | None = None
    _is_reading_body = False
    _refusal = Code.INVALID_REQUEST
    # Bytes since the last thing that the application got to see: an unfinished head, or trailers.
    _unseen_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(Code.NOT_READY, "the server holds as many connections as it can")
            return
        self._expect(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        self._delivered()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._incoming is None and is_idle:
            # Empty lines before a request begin no message, but end the keep-alive's patience.
            self._expect(self._limits.header_seconds)
        self._unseen_bytes += len(data)
        super().data_received(data)
        if self._unseen_bytes > MAX_HEADER_BYTES:
            self._refuse(Code.HEADERS_TOO_LARGE, f"the headers are over {MAX_HEADER_BYTES} bytes")

    # The parser's callbacks, in their order within one message.
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect(self._limits.header_seconds)

    def on_headers_complete(self) -> None:
        self._unseen_bytes = 0
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > MAX_HEADER_BYTES:
            self._refusal = Code.HEADERS_TOO_LARGE
            raise _HeadTooLarge
        super().on_headers_complete()
        self._is_reading_body = True
        self._expect(self._limits.body_seconds)

    def on_body(self, body: bytes) -> None:
        self._unseen_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unseen_bytes = 0
        self._is_reading_body = False
        self._relax()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_reading_body and self.cycle.response_complete:
            # Nobody wants the rest; it is read for a while, since a client that is still sending
            # would see a broken connection instead of its answer.
            self._expect(self._limits.header_seconds)
        if self.transport.is_closing():
            self._await_delivery()

    def send_400_response(self, msg: str) -> None:
        if self._refusal == Code.HEADERS_TOO_LARGE:
            msg = f"the headers are over {MAX_HEADER_BYTES} bytes"
        self._refuse(self._refusal, msg.rstrip("."))

    # The peer's side of the answer.
    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_delivery()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._delivered()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._await_delivery()

    def _expect(self, seconds: float) -> None:
        self._relax()
        self._incoming = self.loop.call_later(seconds, self._too_slow, seconds)

    def _relax(self) -> None:
        if self._incoming is not None:
            self._incoming.cancel()
            self._incoming = None

    def _too_slow(self, seconds: float) -> None:
        self._incoming = None
        if self.flow.read_paused:
            # It is this server that does not read: the client cannot be blamed.
            self._expect(seconds)
            return
        part = "body" if self._is_reading_body else "headers"
        self._refuse(Code.REQUEST_TIMEOUT, f"the {part} did not arrive within {seconds:g} seconds")

    def _await_delivery(self) -> None:
        if self._outgoing is None:
            seconds = self._limits.body_seconds
            self._outgoing = self.loop.call_later(seconds, self.transport.abort)

    def _delivered(self) -> None:
        if self._outgoing is not None:
            self._outgoing.cancel()
            self._outgoing = None

    def _refuse(self, code: Code, happened: str) -> None:
        """Answer for the application, unless a request of this connection is being answered."""
        self._relax()
        if self.transport.is_closing():
            return
        is_between = self.cycle is None or self.cycle.response_complete
        is_unanswered = self._is_reading_body and not self.cycle.response_started
        if (is_between and not self._is_reading_body) or (is_unanswered and not self.pipeline):
            self.transport.write(_response(Problem(code, happened)))
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self.transport.close()
        self._await_delivery()


def _response(problem: Problem) -> bytes:
    request_id = "req_" + secrets.token_hex(16)
    document: dict[str, Any] = problem.document(request_id)
    body = json.dumps(document).encode()
    status = problem.kind.status
    headers = {
        **problem.headers,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "X-Request-Id": request_id,
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status} {_PHRASES[status]}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
