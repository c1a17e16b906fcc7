"""Limits on one connection: time for its headers and its body, bytes, and open files.

uvicorn has no option for most of them; docs/decisions/0015-connection-limits.md compares.
"""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
from asyncio import TimerHandle
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from teacher_server.api.problem_types import Code
from teacher_server.api.problems import MEDIA_TYPE, Problem

MAX_HEADER_BYTES = 32 * 1024
# Files that are not connections: the database, the model, the log, and what libraries open.
_OTHER_FILES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Timeouts in seconds and the largest number of connections.

    `header_seconds` covers all headers of a request, counted from its first byte (for the first
    request, from the connect). `body_seconds` covers the whole body, and again the time in which
    the client must read the answer. Sending single bytes does not extend any of them.
    """

    header_seconds: float
    body_seconds: float
    max_connections: int


def raise_open_file_limit(max_connections: int) -> int:
    """Raise the limit on open files for this many connections, up to the system's hard limit.

    Returns the number of connections that the process can then hold.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _allowed_files(max_connections, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return _connections(max_connections, allowed)


def possible_connections(max_connections: int) -> int:
    """The number that `raise_open_file_limit` would return; it raises nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _connections(max_connections, _allowed_files(max_connections, hard))


def _allowed_files(max_connections: int, hard: int) -> int:
    wanted = max_connections + _OTHER_FILES
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _connections(max_connections: int, files: int) -> int:
    return max(1, min(max_connections, files - _OTHER_FILES))


def limited_protocol(limits: ConnectionLimits) -> type[HttpToolsProtocol]:
    """A protocol class for uvicorn that enforces these limits on each connection."""

    class Limited(_LimitedProtocol):
        _limits = limits

    return Limited


class _HeadersTooLarge(Exception):
    """The headers are over MAX_HEADER_BYTES."""


class _LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which on its own waits forever for the end of headers or a body, and
    keeps headers of any size in memory."""

    _limits: ClassVar[ConnectionLimits]
    _read_timeout: TimerHandle | None = None
    _write_timeout: TimerHandle | None = None
    _is_reading_body = False
    _problem_code = Code.INVALID_REQUEST
    # Bytes since the application last received something: unfinished headers, or trailers.
    _unparsed_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(Code.NOT_READY, "the server has reached its limit of connections")
            return
        self._start_read_timeout(self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_read_timeout()
        self._cancel_write_timeout()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        # The transport closes now, and reports it only in a later step of the loop. A charge that
        # is made for whoever listens must not be made between the two.
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        super().eof_received()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        is_idle = self.cycle is None or self.cycle.response_complete
        if self._read_timeout is None and is_idle:
            # Empty lines before a request begin no message, but they cancel uvicorn's keep-alive
            # timeout.
            self._start_read_timeout(self._limits.header_seconds)
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self._refuse(Code.HEADERS_TOO_LARGE, f"the headers are over {MAX_HEADER_BYTES} bytes")

    # The parser's callbacks, in their order within one message.
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._start_read_timeout(self._limits.header_seconds)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._problem_code = Code.HEADERS_TOO_LARGE
            raise _HeadersTooLarge
        super().on_headers_complete()
        self._is_reading_body = True
        self._start_read_timeout(self._limits.body_seconds)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        self._is_reading_body = False
        self._cancel_read_timeout()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_reading_body and self.cycle.response_complete:
            # Nobody needs the rest of the body. It is read for a while nevertheless: a client that
            # is still sending would otherwise see a broken connection instead of its answer.
            self._start_read_timeout(self._limits.header_seconds)
        if self.transport.is_closing():
            self._start_write_timeout()

    def send_400_response(self, msg: str) -> None:
        if self._problem_code == Code.HEADERS_TOO_LARGE:
            msg = f"the headers are over {MAX_HEADER_BYTES} bytes"
        self._refuse(self._problem_code, msg.rstrip("."))

    # Callbacks of the transport while the client reads its answer.
    def pause_writing(self) -> None:
        super().pause_writing()
        self._start_write_timeout()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._cancel_write_timeout()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._start_write_timeout()

    def _start_read_timeout(self, seconds: float) -> None:
        self._cancel_read_timeout()
        self._read_timeout = self.loop.call_later(seconds, self._on_read_timeout, seconds)

    def _cancel_read_timeout(self) -> None:
        if self._read_timeout is not None:
            self._read_timeout.cancel()
            self._read_timeout = None

    def _on_read_timeout(self, seconds: float) -> None:
        self._read_timeout = None
        if self.flow.read_paused:
            # The server itself stopped reading, so the client is not at fault.
            self._start_read_timeout(seconds)
            return
        part = "body" if self._is_reading_body else "headers"
        self._refuse(Code.REQUEST_TIMEOUT, f"the {part} did not arrive within {seconds:g} seconds")

    def _start_write_timeout(self) -> None:
        if self._write_timeout is None:
            seconds = self._limits.body_seconds
            self._write_timeout = self.loop.call_later(seconds, self.transport.abort)

    def _cancel_write_timeout(self) -> None:
        if self._write_timeout is not None:
            self._write_timeout.cancel()
            self._write_timeout = None

    def _refuse(self, code: Code, reason: str) -> None:
        """Send a problem and close, without the problem if an answer may have begun."""
        self._cancel_read_timeout()
        if self.transport.is_closing():
            return
        is_between = self.cycle is None or self.cycle.response_complete
        is_unanswered = self._is_reading_body and not self.cycle.response_started
        if (is_between and not self._is_reading_body) or (is_unanswered and not self.pipeline):
            self.transport.write(_response(Problem(code, reason)))
            if self.cycle is not None:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
        self.transport.close()
        self._start_write_timeout()


def _response(problem: Problem) -> bytes:
    request_id = "req_" + secrets.token_hex(16)
    body = json.dumps(problem.document(request_id)).encode()
    status = HTTPStatus(problem.problem_type.status)
    headers = {
        **problem.headers,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "X-Request-Id": request_id,
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
