"""A slow, endless or malformed sender only loses its own connection."""

from __future__ import annotations

import contextlib
import threading
from asyncio import new_event_loop
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from benchmarks.support.raw_http import (
    LONG_TIMEOUTS,
    Connection,
    LocalServer,
    head,
    serving_in_thread,
)
from teacher_server.server.connections import MAX_HEADER_BYTES, ConnectionLimits

SHORT_TIMEOUTS = ConnectionLimits(header_seconds=0.2, body_seconds=0.4, max_connections=100)


class Counting:
    """Answers with the number of bytes in the body; at /early without reading it, at /large with
    more than any socket buffers."""

    def __init__(self) -> None:
        self.disconnects = threading.Semaphore(0)
        self.served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        text = ""
        if scope["path"] == "/large":
            text = "x" * 2**24
        elif scope["path"] != "/early":
            try:
                text = str(len(await Request(scope, receive).body()))
            except ClientDisconnect:
                self.disconnects.release()
                return
        self.served += 1
        await PlainTextResponse(text)(scope, receive, send)


@pytest.fixture
def app() -> Counting:
    return Counting()


@pytest.fixture
def server(app: Counting) -> Iterator[LocalServer]:
    with serving_in_thread(app, LONG_TIMEOUTS) as server:
        yield server


@pytest.fixture
def strict_server(app: Counting) -> Iterator[LocalServer]:
    with serving_in_thread(app, SHORT_TIMEOUTS) as server:
        yield server


def drip(connection: Connection, text: bytes, stop: threading.Event) -> None:
    """Send single bytes at intervals, for as long as the server accepts them."""
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            connection.send(text)


@contextlib.contextmanager
def dripping(connection: Connection, text: bytes) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=drip, args=(connection, text, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def test_requests_are_answered_one_after_the_other_on_one_connection(server: LocalServer) -> None:
    with server.connect() as connection:
        for size in (0, 5, 100_000):
            connection.send(head("POST", "/", f"Content-Length: {size}") + b"x" * size)
            assert connection.read_answer().body == str(size).encode()


def test_pipelined_requests_are_all_answered(server: LocalServer) -> None:
    with server.connect() as connection:
        single_request = head("POST", "/", "Content-Length: 3") + b"abc"
        last = head("POST", "/", "Content-Length: 4", "Connection: close") + b"abcd"
        connection.send(single_request + single_request + last)
        assert connection.read_to_end().raw.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("start", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_connection_without_complete_headers_is_closed_with_408(
    strict_server: LocalServer, start: bytes
) -> None:
    with strict_server.connect() as connection:
        connection.send(start)
        assert connection.read_to_end().problem["code"] == "request_timeout"


@pytest.mark.parametrize(
    ("start", "text"),
    [(b"GET /", b"a"), (b"GET / HTTP/1.1\r\nX: ", b"a"), (b"\r\n", b"\r\n")],
)
def test_slowly_sent_headers_time_out_however_often_a_byte_arrives(
    strict_server: LocalServer, start: bytes, text: bytes
) -> None:
    with strict_server.connect() as connection:
        connection.send(start)
        with dripping(connection, text):
            assert connection.read_to_end().status == 408


@pytest.mark.parametrize(("start", "text"), [(b"GET /", b"a"), (b"\r\n", b"\r\n")])
def test_a_slowly_sent_second_request_times_out_too(
    app: Counting, start: bytes, text: bytes
) -> None:
    with (
        serving_in_thread(app, SHORT_TIMEOUTS, keep_alive_seconds=60) as server,
        server.connect() as connection,
    ):
        connection.send(head("GET", "/"))
        assert connection.read_answer().status == 200
        connection.send(start)
        with dripping(connection, text):
            assert connection.read_to_end().status == 408


def test_an_idle_connection_is_closed_without_an_answer(app: Counting) -> None:
    with (
        serving_in_thread(app, LONG_TIMEOUTS, keep_alive_seconds=0) as server,
        server.connect() as connection,
    ):
        connection.send(head("GET", "/"))
        assert connection.read_answer().status == 200
        assert connection.read_to_end().raw == b""


@pytest.mark.parametrize(
    ("header", "text"),
    [("Content-Length: 100000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")],
)
def test_a_slowly_sent_body_times_out_and_its_request_ends(
    strict_server: LocalServer, app: Counting, header: str, text: bytes
) -> None:
    with strict_server.connect() as connection:
        connection.send(head("POST", "/", header))
        with dripping(connection, text):
            assert connection.read_to_end().problem["code"] == "request_timeout"
    assert app.disconnects.acquire(timeout=30)
    assert app.served == 0


def test_a_body_shorter_than_declared_is_not_handled_as_a_request(
    server: LocalServer, app: Counting
) -> None:
    with server.connect() as connection:
        connection.send(head("POST", "/", "Content-Length: 100") + b"x" * 99)
    assert app.disconnects.acquire(timeout=30)
    assert app.served == 0


def test_a_body_longer_than_declared_does_not_reach_the_request(
    server: LocalServer, app: Counting
) -> None:
    with server.connect() as connection:
        connection.send(head("POST", "/", "Content-Length: 3") + b"abc")
        assert connection.read_answer().body == b"3"
        connection.send(b"\x00\x01 and more")
        assert connection.read_to_end().problem["code"] == "invalid_request"
    assert app.served == 1


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 99999999999999999999999",),
        ("Content-Length: 0x10",),
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: identity, chunked, x",),
        ("no colon",),
        ("Name\x00: value",),
    ],
)
def test_ambiguous_headers_are_refused(
    server: LocalServer, app: Counting, lines: tuple[str, ...]
) -> None:
    with server.connect() as connection:
        connection.send(head("POST", "/", *lines) + b"0\r\n\r\n")
        answer = connection.read_to_end()
    assert answer.problem["code"] == "invalid_request"
    assert app.served == 0


def test_an_early_answer_shortens_the_timeout_of_the_body(
    strict_server: LocalServer,
) -> None:
    with strict_server.connect() as connection:
        connection.send(head("POST", "/early", "Content-Length: 1000000"))
        assert connection.read_answer().status == 200
        with dripping(connection, b"x"):
            connection.read_to_end()


def test_too_many_headers_are_refused_while_they_arrive(server: LocalServer, app: Counting) -> None:
    with server.connect() as connection:
        connection.send(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(2000):
                connection.send(f"X-{number}: {'y' * 100}\r\n".encode())
        status = connection.read_to_end().raw[:12]
    # A client that continues to send after the refusal may see a reset instead.
    assert status in {b"HTTP/1.1 431", b""}
    assert app.served == 0


@pytest.mark.parametrize(
    "lines",
    [
        ("X: " + "y" * MAX_HEADER_BYTES,),
        tuple(f"X-{number}: y" for number in range(MAX_HEADER_BYTES // 4)),
    ],
)
def test_headers_over_the_limit_are_refused(
    server: LocalServer, app: Counting, lines: tuple[str, ...]
) -> None:
    with server.connect() as connection:
        connection.send(head("GET", "/", *lines))
        assert connection.read_to_end().problem["code"] == "headers_too_large"
    assert app.served == 0


def test_headers_just_within_the_limit_are_read(server: LocalServer) -> None:
    assert server.get("/", "X: " + "y" * (MAX_HEADER_BYTES - 200)).status == 200


@pytest.mark.parametrize("rest", [b"0\r\n" + b"T: x\r\n" * 200_000, b"1;" + b"e" * 1_000_000])
def test_endless_trailers_and_chunk_extensions_are_refused(
    server: LocalServer, app: Counting, rest: bytes
) -> None:
    with server.connect() as connection:
        connection.send(head("POST", "/", "Transfer-Encoding: chunked"))
        with contextlib.suppress(ConnectionError):
            connection.send(rest)
        assert connection.read_to_end().raw[:12] in {b"HTTP/1.1 431", b""}
    assert app.disconnects.acquire(timeout=30)
    assert app.served == 0


def test_a_client_that_does_not_read_its_answer_is_dropped(strict_server: LocalServer) -> None:
    with strict_server.connect() as connection:
        connection.send(head("GET", "/large"))
        assert connection.socket.recv(1) == b"H"
        with contextlib.suppress(ConnectionError):
            # Otherwise it would wait forever: nothing that is sent here is answered.
            while True:
                connection.send(b"GET / HTTP/1.1\r\n\r\n" * 1000)


def test_a_client_that_reads_slowly_gets_its_whole_answer(server: LocalServer) -> None:
    with server.connect() as connection:
        connection.send(head("GET", "/large"))
        assert len(connection.read_answer().body) == 2**24


def test_a_connection_over_the_limit_is_refused_and_the_others_are_served(app: Counting) -> None:
    limits = ConnectionLimits(header_seconds=60, body_seconds=60, max_connections=3)
    with serving_in_thread(app, limits) as server, contextlib.ExitStack() as held:
        connections = [held.enter_context(server.connect()) for _ in range(3)]
        for connection in connections:
            connection.send(head("GET", "/"))
            assert connection.read_answer().status == 200
        refused = server.get()
        assert refused.problem["code"] == "not_ready"
        assert refused.headers["retry-after"]
        connections[0].send(head("GET", "/"))
        assert connections[0].read_answer().status == 200
        connections[0].socket.close()
        while server.get().status == 503:
            continue
        assert server.get().status == 200


def test_an_upgrade_to_websocket_is_an_ordinary_request(server: LocalServer) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    with server.connect() as connection:
        connection.send(head("GET", "/", *upgrade, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
        assert connection.read_answer().status == 200


def test_slow_senders_do_not_stop_service_to_others(server: LocalServer) -> None:
    starts = [b"", b"GET / HT", head("POST", "/", "Content-Length: 9") + b"x"] * 30
    with contextlib.ExitStack() as held:
        for start in starts:
            held.enter_context(server.connect()).send(start)
        for _ in range(10):
            assert server.get().status == 200


def test_uvicorn_has_the_undocumented_attributes_that_the_limits_depend_on() -> None:
    with closing(new_event_loop()) as loop:
        protocol = HttpToolsProtocol(uvicorn.Config(Counting()), ServerState(), {}, loop)
    for name in ("connections", "cycle", "flow", "headers", "loop", "pipeline", "transport"):
        assert hasattr(protocol, name), name
    for name in ("on_message_begin", "on_headers_complete", "on_body", "on_message_complete"):
        assert callable(getattr(protocol, name)), name
    for name in ("on_response_complete", "send_400_response", "timeout_keep_alive_handler"):
        assert callable(getattr(protocol, name)), name
    assert {"response_started", "response_complete", "disconnected", "message_event"} <= set(
        RequestResponseCycle.__init__.__code__.co_names
    )
