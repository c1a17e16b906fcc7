"""After kill -9 at any point and another run, the cache holds exactly what the vendor charged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from cache.paid_cache import PaidCache
from tests.support.ledger_vendor import KEY, LedgerVendor

ROOT = Path(__file__).parents[3]
PATIENCE = 60


@dataclass
class SocketVendor:
    """The vendor on a real loopback socket, with optional delays before charging and answering."""

    vendor: LedgerVendor = field(default_factory=LedgerVendor)
    may_charge: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)
    charged: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def __post_init__(self) -> None:
        self.may_answer.set()
        self.may_charge.set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.arrived.set()
            assert self.may_charge.wait(PATIENCE)
        with self.lock:
            response = self.vendor(request)
        if request.method == "POST":
            self.charged.set()
            assert self.may_answer.wait(PATIENCE)
        return response


def handler_of(far_end: SocketVendor) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            request = httpx.Request(
                self.command,
                f"http://vendor{self.path}",
                headers=list(self.headers.items()),
                content=self.rfile.read(size),
            )
            response = far_end.answer(request)
            try:
                self.send_response(response.status_code)
                for name in ("Content-Type", "Retry-After", "Idempotent-Replayed"):
                    if name in response.headers:
                        self.send_header(name, response.headers[name])
                self.send_header("Content-Length", str(len(response.content)))
                self.end_headers()
                self.wfile.write(response.content)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_GET = reply  # noqa: N815  the standard library's name
        do_POST = reply  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionResetError:
                self.close_connection = True

    return Handler


@contextmanager
def on_a_socket() -> Iterator[SocketVendor]:
    far_end = SocketVendor()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler_of(far_end)) as server:
        far_end.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield far_end
        finally:
            far_end.may_answer.set()
            far_end.may_charge.set()
            server.shutdown()
            thread.join(PATIENCE)


def client(
    far_end: SocketVendor, folder: Path, count: int, *kill_at: int | str
) -> subprocess.Popen[bytes]:
    return client_at(far_end.url, KEY, folder, count, *kill_at)


def client_at(
    url: str, key: str, folder: Path, count: int, *kill_at: int | str
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.support.client_process"]
    return subprocess.Popen(
        [*command, url, str(folder), str(count), *map(str, kill_at)],
        env={**os.environ, "TEST_KEY": key},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def assert_runs_to_its_end(process: subprocess.Popen[bytes]) -> int:
    """The number of children that were killed before the process finished its own run."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors.decode()
    return int(output)


def assert_paid_once(far_end: SocketVendor, folder: Path, count: int) -> None:
    vendor = far_end.vendor
    assert vendor.spent == count
    with PaidCache.open(folder) as cache:
        stored = sorted(cache.receipts(), key=lambda receipt: receipt.seq)
        assert stored == vendor.receipts()
        assert len(list(cache.rows())) == count
        assert not list(cache.rows_bought_again())
        assert cache.open_intents() == []


def test_killed_after_the_charge_and_before_the_answer(tmp_path: Path) -> None:
    """The vendor charges, the waiting client is killed, and the next run fetches the answer."""
    with on_a_socket() as far_end:
        far_end.may_answer.clear()
        process = client(far_end, tmp_path / "cache", 6)
        assert far_end.charged.wait(PATIENCE)
        process.kill()
        process.communicate(timeout=PATIENCE)
        far_end.may_answer.set()
        charged = far_end.vendor.spent
        assert charged > 0
        assert_runs_to_its_end(client(far_end, tmp_path / "cache", 6))
        assert_paid_once(far_end, tmp_path / "cache", 6)


@pytest.mark.parametrize("count", [3, 40])
def test_killed_at_every_point_of_a_purchase_in_turn(tmp_path: Path, count: int) -> None:
    """Each run is killed one database change later than the last: reserve, send, answer, store."""
    points = range(2, 14)
    with on_a_socket() as far_end:
        killed = assert_runs_to_its_end(client(far_end, tmp_path / "cache", count, *points))
        assert killed >= (2 if count == 3 else 7)
        assert_paid_once(far_end, tmp_path / "cache", count)


def test_ctrl_c_stores_the_answers_of_requests_in_flight(tmp_path: Path) -> None:
    with on_a_socket() as far_end:
        far_end.may_answer.clear()
        process = client(far_end, tmp_path / "cache", 30)
        assert far_end.charged.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        far_end.may_answer.set()
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode != 0
        assert b"KeyboardInterrupt" in errors
        assert far_end.vendor.spent < 30
        assert_paid_once(far_end, tmp_path / "cache", far_end.vendor.spent)


def test_processes_that_share_a_cache_pay_once(tmp_path: Path) -> None:
    with on_a_socket() as far_end:
        processes = [client(far_end, tmp_path / "cache", 24) for _ in range(3)]
        # Wait for all before checking any, so that a failure leaves no process behind.
        ends = [process.communicate(timeout=PATIENCE)[1].decode() for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0], ends
        assert_paid_once(far_end, tmp_path / "cache", 24)


def test_the_key_is_in_neither_the_arguments_nor_the_cache(tmp_path: Path) -> None:
    with on_a_socket() as far_end:
        process = client(far_end, tmp_path / "cache", 3)
        assert all(KEY not in str(argument) for argument in process.args)  # type: ignore[union-attr]
        assert_runs_to_its_end(process)
    for file in (tmp_path / "cache").rglob("*"):
        if file.is_file():
            assert KEY.encode() not in file.read_bytes()
