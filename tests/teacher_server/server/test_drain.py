"""SIGTERM to a real vendor that is selling: what was accepted is answered, and charged once."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from teacher_server.cli import main
from tests.support.vendor_process import TOKEN, Server, server_at

WAITING = 4  # requests that are in the model's queue at the signal
_REQUEST = {"model": "tiny-clip", "input": ["a dog"]}
_BODY = json.dumps(_REQUEST).encode()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begin_upload(server: Server) -> socket.socket:
    """A sale whose headers the server has taken, and which waits for the body."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    head = (
        "POST /v1/embeddings HTTP/1.1\r\nHost: vendor\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(_BODY)}\r\n"
        "Expect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    return connection


def is_refused(server: Server) -> bool:
    address = urlsplit(server.url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def ledger(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, dict[str, int]]:
    """What `ledger verify` says of the stopped vendor, and its key's balance."""
    dsn = f"sqlite:///{folder}/vendor/ledger.db"
    assert main(["ledger", "verify", "--database", dsn]) == 0
    verified = capsys.readouterr().out
    assert main(["keys", "list", "--json", "--database", dsn]) == 0
    (key,) = json.loads(capsys.readouterr().out)
    return verified, key


def test_after_sigterm_every_accepted_sale_is_answered_and_charged_once_and_no_other_is_taken(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The model waits so long for a batch to fill that the signal finds the sales in its queue.
    with server_at(tmp_path, checkpoint, "--max-delay-ms", "3000") as server:

        def buy(number: int) -> httpx.Response:
            with server.http() as http:
                return http.post(
                    "/v1/embeddings",
                    json=_REQUEST,
                    # With an Idempotency-Key and without: the second is charged only if it is sent.
                    headers={"Idempotency-Key": f"k{number}"} if number % 2 else {},
                    timeout=60,
                )

        with (
            ThreadPoolExecutor(WAITING) as pool,
            server.http() as idle,
            begin_upload(server) as upload,
        ):
            sales = [pool.submit(buy, number) for number in range(WAITING)]
            until(lambda: idle.get("/v1/key").json()["reserved_units"] == WAITING)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: is_refused(server))
            assert not any(sale.done() for sale in sales)
            with pytest.raises(httpx.TransportError):
                idle.get("/readyz")  # an idle connection is closed, and a new one refused
            upload.sendall(_BODY)
            answer = b"".join(iter(lambda: upload.recv(65_536), b""))
            answers = [sale.result() for sale in sales]
        assert server.process.wait(30) == 0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert [one.status_code for one in answers] == [200] * WAITING
    receipts = {one.json()["receipt"]["request_id"] for one in answers}
    receipts.add(json.loads(answer.partition(b"\r\n\r\n")[2])["receipt"]["request_id"])
    assert len(receipts) == WAITING + 1
    verified, key = ledger(tmp_path, capsys)
    assert f", {WAITING + 1} queries charged: the ledger balances" in verified
    assert (key["spent_units"], key["reserved_units"]) == (WAITING + 1, 0)


def test_a_sale_that_takes_longer_than_the_shutdown_may_is_cut_off_and_not_charged(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--shutdown-seconds", "1", "--max-delay-ms", "8000")
    with (
        server_at(tmp_path, checkpoint, *flags) as server,
        server.http() as http,
        begin_upload(server) as sale,
    ):
        sale.sendall(_BODY)
        until(lambda: http.get("/v1/key").json()["reserved_units"] == 1)
        assert server.stop() == 0
        assert not sale.recv(65_536).startswith(b"HTTP/1.1 200 ")
    verified, key = ledger(tmp_path, capsys)
    assert ", 0 queries charged: the ledger balances" in verified
    assert (key["spent_units"], key["reserved_units"]) == (0, 0)
